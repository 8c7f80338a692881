"""`kindred serve`: a page on this machine for figures, audiences and customers, read from the scores."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import uvicorn

from pipeline.config.errors import UserError
from pipeline.config.params import Params
from pipeline.page.access import Access
from pipeline.page.app import build_app
from pipeline.page.scores import Scores
from pipeline.stores.workspace import confined_database

HOST = "127.0.0.1"


def serve(params: Params, *, port: int) -> str:
    """Serve the page until Ctrl+C. Prints its address, with a token that is new at each start.

    Raises
    ------
    UserError
        There are no scores, or the port is in use.
    """
    with page_server(params, port=port) as (server, listener, access):
        print(f"Page     {access.address}\nStop     Ctrl+C", flush=True)
        with suppress(KeyboardInterrupt):
            server.run(sockets=[listener])
    return ""


@contextmanager
def page_server(params: Params, *, port: int) -> Iterator[tuple[uvicorn.Server, socket.socket, Access]]:
    """A server that is ready to run on a listening socket, and who may use it.

    Parameters
    ----------
    port : int
        0: any free port.
    """
    with _listener(port) as listener, confined_database(params) as con:
        access = Access(int(listener.getsockname()[1]))
        scores = Scores(
            con,
            params.scores_path,
            separator=params.source.category_separator,
            min_group=params.naming.min_group,
        )
        # No access log, and no log of errors: addresses and texts of errors may hold data of customers.
        config = uvicorn.Config(
            build_app(params, scores, access),
            access_log=False,
            log_level="critical",
            server_header=False,
            proxy_headers=False,
            lifespan="off",
            ws="none",
        )
        yield uvicorn.Server(config), listener, access


def _listener(port: int) -> socket.socket:
    try:
        return socket.create_server((HOST, port))
    except OSError as error:
        raise UserError(f"--port {port}: expected a free port on {HOST}. {error.strerror}. Choose another.") from None
