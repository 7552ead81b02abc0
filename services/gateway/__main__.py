"""`python -m services.gateway`: the gateway in the foreground until SIGTERM or Ctrl-C."""

from __future__ import annotations

from services.gateway.start import main

if __name__ == "__main__":
    raise SystemExit(main())
