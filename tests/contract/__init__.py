"""Every connector against every simulator, over real HTTP."""
