"""What Lambda runs: the control plane."""
