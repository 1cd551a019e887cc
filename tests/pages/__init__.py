"""What the pages for production say is true: deploying, threats, privacy."""
