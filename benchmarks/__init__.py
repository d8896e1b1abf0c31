"""Measurements that the docs quote; each prints how it was made."""
