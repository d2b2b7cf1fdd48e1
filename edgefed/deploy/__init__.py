"""Real devices: keys and certificates, the processes on server and devices, runs on them, and what is wrong there."""
