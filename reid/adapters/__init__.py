"""What meets the ports: libraries, files and screens."""
