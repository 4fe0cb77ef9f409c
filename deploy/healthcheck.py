"""Ask the service beside this script how it is: exit 0 if the answer is 200, 1 if it is any other, or none.

`healthcheck.py [PATH]`, PATH being /health/live if none is named. Runs inside the container, where there is no curl and
need be no shell: it finds the service by the same variables as the service itself.
"""

import http.client
import os
import ssl
import sys

TIMEOUT_SECS = 4.0


def main() -> int:
    path = sys.argv[1] if len(sys.argv) > 1 else "/health/live"
    connection = connect()
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read().decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        sys.stderr.write(f"{path} does not answer: {error}\n")
        return 1
    finally:
        connection.close()
    sys.stdout.write(f"{body}\n")
    return 0 if answer.status == http.HTTPStatus.OK else 1


def connect() -> http.client.HTTPConnection:
    host = os.environ.get("CB_TRADE_HOST") or "127.0.0.1"
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - read, not bound
    port = int(os.environ.get("CB_TRADE_PORT") or 8700)
    if not os.environ.get("CB_TRADE_TLS__CERTIFICATE_FILE"):
        return http.client.HTTPConnection(host, port, timeout=TIMEOUT_SECS)
    # The certificate is for the name that clients use; this is the same machine.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return http.client.HTTPSConnection(host, port, timeout=TIMEOUT_SECS, context=context)


if __name__ == "__main__":
    sys.exit(main())
