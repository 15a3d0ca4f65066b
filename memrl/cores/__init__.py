"""One file per memory core; `memrl.registry` finds them by looking into this folder."""
