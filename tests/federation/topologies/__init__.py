"""Tests of federations without a server."""
