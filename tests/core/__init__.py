"""Tests of the pure core: tables where there are cases, properties where there is a rule."""
