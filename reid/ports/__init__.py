"""What the services need from outside, as typing protocols."""
