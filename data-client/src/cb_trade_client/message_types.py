"""The `type` of each message that the service sends, as far as this SDK knows them."""

START = "historical_data_start"
CHUNK = "historical_data_chunk"
COMPLETE = "historical_data_complete"
LATEST = "current_timestamp_response"
PLAN = "plan_response"
ERROR = "error_response"
CANCELLED = "request_cancelled"
AUTHENTICATED = "authenticated"

KNOWN_TYPES = frozenset({START, CHUNK, COMPLETE, LATEST, PLAN, ERROR, CANCELLED, AUTHENTICATED})
