#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A receiving HL7 peer for demonstration and tests, on python3-hl7: keeps every message as a file and answers.

  --port P      where to listen on loopback
  --out DIR     messages become DIR/00001.hl7, 00002.hl7...
  --code AA     acknowledgement code; --first CODE,CODE...: codes of the first answers, then --code
  --silent N    does not answer the first N messages
  --keep N      keeps the newest N messages; 0: all
  --foreign N   answers the first N messages with another's control id
"""
import argparse
import asyncio
import pathlib

import hl7
from hl7.mllp import start_hl7_server


async def serve(args):
    out = pathlib.Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    count = max((int(path.stem) for path in out.glob("*.hl7")), default=0)
    first = args.first.split(",") if args.first else []
    seen = 0

    async def peer(reader, writer):
        nonlocal count, seen
        try:
            while not writer.is_closing():
                message = await reader.readmessage()
                count += 1
                seen += 1
                path = out / f"{count:05d}.hl7"
                path.with_suffix(".part").write_text(str(message), encoding="utf-8", newline="")
                path.with_suffix(".part").rename(path)
                if args.keep and count > args.keep:
                    (out / f"{count - args.keep:05d}.hl7").unlink(missing_ok=True)
                print(f"{path.name}: {message.extract_field('MSH', 1, 10)} with {len(message.segments('OBX'))} OBX", flush=True)
                if seen <= args.silent:
                    continue
                code = first[seen - 1] if seen <= len(first) else args.code
                answer = message.create_ack(code)
                if seen <= args.foreign:
                    answer.segment("MSA").assign_field("SOMEBODY-ELSES", 2)
                writer.writemessage(answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await start_hl7_server(peer, host="127.0.0.1", port=args.port, encoding="utf-8", limit=16 << 20)
    print(f"HL7 receiver listens on 127.0.0.1:{args.port}", flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--code", default="AA")
    parser.add_argument("--first", default="")
    parser.add_argument("--silent", type=int, default=0)
    parser.add_argument("--keep", type=int, default=0)
    parser.add_argument("--foreign", type=int, default=0)
    try:
        asyncio.run(serve(parser.parse_args()))
    except KeyboardInterrupt:
        pass
