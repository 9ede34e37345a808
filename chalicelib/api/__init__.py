"""The HTTP API: routes and wire structs. Routes only decode, call one use-case, encode."""
