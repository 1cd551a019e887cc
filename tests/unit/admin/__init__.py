"""Tests of the administration's command line."""
