"""Servers that speak KServe v2, each with a small runtime that has OpenVINO compute what a repository holds."""
