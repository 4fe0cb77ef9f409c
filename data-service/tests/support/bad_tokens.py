"""Tokens that open no door, each with the HTTP status it is refused with."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import jwt
import pytest
from service_harness import SECRET, token

BAD_TOKENS = [
    pytest.param(None, 401, id="no token"),
    pytest.param("nonsense", 401, id="no JWT"),
    pytest.param(token(secret="another secret that is long enough, too"), 401, id="another key"),
    pytest.param(token(now=datetime.now(UTC) - timedelta(hours=2)), 401, id="expired"),
    pytest.param(
        jwt.encode({"sub": "x", "exp": 4e9, "scope": "data:read"}, None, algorithm="none"), 401, id="alg none"
    ),
    pytest.param(jwt.encode({"exp": 4e9, "scope": "data:read"}, SECRET), 401, id="no subject"),
    pytest.param(jwt.encode({"sub": "x", "scope": "data:read"}, SECRET), 401, id="no expiry"),
    pytest.param(token(scopes=[]), 403, id="no scope"),
    pytest.param(token(scopes=["data:readers"]), 403, id="a scope that only looks alike"),
]
