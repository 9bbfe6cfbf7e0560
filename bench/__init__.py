"""Benchmarks: the registry compared with nginx, Go's net/http and docker-registry, on one machine."""
