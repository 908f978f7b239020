"""One file per source of facts. Observers never judge, and never raise for what they find."""
