"""What keeps a home in order over years: its layout's version, backups, and a look at what it holds and needs."""
