"""Users, sessions, trading accounts and exchange keys; who may see and do what."""
