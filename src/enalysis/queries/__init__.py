"""What a page, an endpoint, a command and a download all show: one function per question."""
