"""The cb-trade data service: one authenticated WebSocket, the whole truth about a series."""
