"""From noise to frames: one segment, a session of segments, a release that opens sessions."""
