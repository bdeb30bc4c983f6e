"""The agent's command line: ``serve`` talks to the host, ``worker`` is what serve starts for one measurement."""

import argparse
import logging
import sys
from typing import List, Optional

import scbp_agent
from scbp_agent import blobs, jobs, server


def main(argv: Optional[List[str]] = None) -> None:
    """Run the agent; ``argv`` without the program's name (default: sys.argv)."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    logging.basicConfig(stream=sys.stderr, format="scbp-agent: %(message)s")
    if arguments.command == "worker":
        jobs.main(arguments.parent)
        return
    try:
        server.serve(arguments.workdir, arguments.blob_limit_bytes)
    except KeyboardInterrupt:
        # Ctrl-C at a terminal reaches a local agent as well as its host; the host says what is to be said.
        parser.exit(130)
    except OSError as error:
        parser.exit(3, "scbp-agent: cannot use %s: %s\n" % (arguments.workdir, error))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scbp-agent", description="scbp's agent, which measures on the board")
    parser.add_argument("--version", action="version", version="scbp-agent " + scbp_agent.__version__)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    # Python 3.6's add_subparsers takes no required=.
    commands.required = True
    serve = commands.add_parser("serve", help="answer the host's requests, JSON lines on stdin and stdout")
    serve.add_argument("--workdir", required=True, help="the agent's folder on this board")
    serve.add_argument(
        "--blob-limit-bytes",
        type=int,
        default=blobs.DEFAULT_LIMIT_BYTES,
        help="what models and inputs may take on disk; the longest unused go first (default: %(default)s)",
    )
    worker = commands.add_parser("worker", help="started by serve: one measurement, job on stdin")
    worker.add_argument("--parent", type=int, required=True, help="the agent's process id")
    return parser


if __name__ == "__main__":
    main()
