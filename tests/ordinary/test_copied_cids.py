"""CIDs as people copy them: links, paths, gateway URLs, upper case, blanks; CIDv0 is told what it is."""

from __future__ import annotations

from typing import Any

import pytest

from registry.content.cid import parse_cid
from registry.content.copied_cids import cid_named
from registry.errors import FormError

CID = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"
V0 = "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG"
FORMS = {
    "bare": "{}",
    "ipfs link": "ipfs://{}",
    "ipfs link with a slash": "ipfs://{}/",
    "path": "/ipfs/{}",
    "gateway": "https://ipfs.io/ipfs/{}",
    "gateway with a name": "https://gateway.example/ipfs/{}?filename=model.safetensors",
    "local gateway": "http://127.0.0.1:8080/ipfs/{}",
    "subdomain gateway": "https://{}.ipfs.dweb.link/",
    "blanks": "  {}\n",
    "quotes": '"{}"',
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_cid_is_read_as_people_copy_it(form: str) -> None:
    assert cid_named(form.format(CID)) == parse_cid(CID)


def test_a_cid_in_upper_case_is_read() -> None:
    assert cid_named(CID.upper()) == parse_cid(CID)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_store_and_verify_and_versions_take_copied_cids(shared_world: Any, form: str) -> None:
    version = shared_world.done("model", "show", shared_world.model)["versions"][0]["version"]
    (weights,) = shared_world.done("cid", "genesis.safetensors")
    assert shared_world.done("store", "stat", form.format(weights["cid"]))["cid"] == weights["cid"]
    assert shared_world.run("verify", form.format(weights["cid"])).exit_code == 0
    manifest = shared_world.done("verify", weights["cid"])["versions"][0]["version"]
    assert manifest == version
    named = f"{shared_world.model}@{form.format(manifest_cid_of(version))}"
    assert shared_world.done("model", "pull", named)["version"] == version
    recall = shared_world.done("provenance", "descendants", "--data-set", form.format(manifest_cid_of(version)))
    assert recall["versions"] == []


def manifest_cid_of(digest: str) -> str:
    from registry.content.manifest import manifest_cid

    return str(manifest_cid(bytes.fromhex(digest.removeprefix("0x"))))  # type: ignore[arg-type]


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_cidv0_is_told_what_it_is_and_what_to_do(cairn: Any, form: str) -> None:
    result = cairn("store", "get", form.format(V0), "-o", "copy")
    assert result.exit_code == 3
    assert "got a CIDv0, which names the root block bafybeie5nqv6kd3qnfjupgvz34woh3oksc3iau6abmyajn7qvtf6d2ho34" in (
        result.stderr
    )
    assert "`cairn store add`" in result.stderr


def test_a_link_into_a_folder_is_refused_by_name() -> None:
    with pytest.raises(FormError, match=r"got a path in a folder: /model\.safetensors"):
        cid_named(f"ipfs://{CID}/model.safetensors")
