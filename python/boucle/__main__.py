"""``python -m boucle``: a REPL in which ``await`` works at the top level. With arguments: the command ``boucle``."""

import sys

if __name__ == "__main__":
    if len(sys.argv) > 1:
        from boucle._cli import main

        sys.exit(main())
    from boucle._repl import main

    main()
