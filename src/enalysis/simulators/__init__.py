"""The other side of the wire: vendor clouds and devices simulated faithfully; never imports connectors."""
