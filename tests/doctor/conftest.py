from tests.cli.conftest import voc as voc
