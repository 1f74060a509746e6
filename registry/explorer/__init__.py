"""The explorer: a read-only site over the index and the content store; nothing else imports it but the command line."""
