"""The faces of the service: one WebSocket for data, a little HTTP for everything around it."""
