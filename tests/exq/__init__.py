"""What Exq's own test suite holds Exq to, asked of this engine on a real Valkey, through the public names only."""
