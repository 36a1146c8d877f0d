"""``python -m boucle``: a REPL in which ``await`` works at the top level. With arguments: the command ``boucle``."""

import sys

if __name__ == "__main__":
    if len(sys.argv) > 1:
        from boucle import _cli

        sys.exit(_cli.main())
    from boucle import _repl

    _repl.main()
