"""Kafka's jars: resolved once by Maven into a cache folder that stacks share."""

import fcntl
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from headrace.stack.errors import StackError

KAFKA = "4.3.0"
LOG4J = "2.25.4"
"""The log4j that this Kafka is built with; kafka_2.13 alone brings no binding, and would log nothing."""

_JAVA = 17
_INSTALL_JAVA = "install a JDK 17 or newer (Debian, Ubuntu: apt install openjdk-17-jdk-headless; macOS: brew install openjdk@17)"
_INSTALL_MAVEN = "install Maven (Debian, Ubuntu: apt install maven; macOS: brew install maven)"

_POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>headrace</groupId><artifactId>kafka</artifactId><version>{KAFKA}</version><packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{KAFKA}</version>
    </dependency>
    <dependency>
      <groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>{LOG4J}</version>
    </dependency>
  </dependencies>
</project>
"""


def java() -> str:
    """The `java` to run Kafka with.

    Raises:
        StackError: there is none, or it is too old.

    """
    found = shutil.which("java")
    if found is None:
        raise StackError(f"Kafka needs Java, and there is no `java` here: {_INSTALL_JAVA}")
    # macOS has a `java` that only says that there is no Java, and fails.
    said = subprocess.run([found, "-version"], capture_output=True, text=True, check=False).stderr
    version = re.search(r'version "(?:1\.)?(\d+)', said)
    if version is None or int(version[1]) < _JAVA:
        first = said.partition("\n")[0].strip() or "nothing"
        raise StackError(f"Kafka needs Java {_JAVA}, and `java -version` says {first}: {_INSTALL_JAVA}")
    return found


def jars(cache: Path, report: Callable[[str], None] = lambda _: None) -> Path:
    """The folder of Kafka's jars, downloaded if it is not in the cache.

    Whoever comes while somebody downloads waits for it: Maven's own repository does not stand two at a time. Downloads appear
    in the cache by one rename: one that is killed leaves no half of it.

    Raises:
        StackError: Maven is missing, or could not resolve them.

    """
    home = cache / f"kafka-{KAFKA}-log4j-{LOG4J}"
    if home.is_dir():
        return home
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "kafka.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not home.is_dir():
            report(f"Downloading Apache Kafka {KAFKA} with Maven, once (about 45 MB) into {home}")
            with tempfile.TemporaryDirectory(prefix="kafka-", dir=cache) as scratch:
                _resolve(Path(scratch)).rename(home)
    return home


def _resolve(scratch: Path) -> Path:
    maven = shutil.which("mvn")
    if maven is None:
        raise StackError(f"Kafka's jars are fetched by Maven, and there is no `mvn` here: {_INSTALL_MAVEN}")
    java()
    (scratch / "pom.xml").write_text(_POM)
    libs = scratch / "libs"
    goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={libs}"]
    done = subprocess.run(
        [maven, "-B", "-q", *goal], cwd=scratch, capture_output=True, text=True, check=False
    )
    if done.returncode:
        end = "\n".join((done.stdout + done.stderr).splitlines()[-15:])
        raise StackError(f"Maven could not fetch Apache Kafka {KAFKA}:\n{end}")
    return libs
