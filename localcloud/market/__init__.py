"""What EC2 has and what it costs: capacity, quotas, spot prices, and what follows of them. Nothing is short until told so."""
