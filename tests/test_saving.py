"""Results on disk: whole or not at all at every kind of place, whatever kills their process, and sealed."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import subprocess
import threading
from pathlib import Path

import pytest

from crowdjax import disk, saving
from crowdjax.labels import InputError

root = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs to be root")
PLACES = ("new", "earlier", "other", "link", "here", "empty")


def make(out, value: int, *, figures: bool = True, name: str = "fit.json") -> None:
    with saving.new_result(out, {"value": value, "classes": ["no", "yes"]}, name) as folder:
        (folder / "table").write_text(f"table {value}")
        if figures:
            (folder / "figures").mkdir()
            (folder / "figures" / "one").write_text(f"figure {value}")


def value(out) -> int | None:
    """The value of the result at a place, every file of it checked; None where there is nothing."""
    if not any((Path(out) / name).exists() for name in saving.RECORDS) and not (Path(out) / saving.JOURNAL).exists():
        return None
    found = saving.read_result(out)["value"]
    assert (Path(out) / "table").read_text() == f"table {found}"
    return found


def contents(folder) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(Path(folder).rglob("*")) if p.is_file()}


def hidden(*folders) -> list[str]:
    return [p.name for folder in folders if Path(folder).is_dir() for p in Path(folder).glob(".*")]


@pytest.fixture(autouse=True)
def there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(saving.KEY, raising=False)
    return tmp_path


def prepared(kind: str, monkeypatch) -> str:
    """A place to write to, with an earlier result or without one."""
    if kind == "earlier":
        make("out", 1)
    if kind == "other":  # a result of another kind, whose record has another name
        make("out", 1, name="predict.json")
    if kind == "link":
        make("real", 1)
        os.symlink("real", "out")
    if kind == "empty":
        os.mkdir("out")
    if kind == "here":
        make("out", 1)
        monkeypatch.chdir("out")
        return "."
    return "out"


# Places


@pytest.mark.parametrize("kind", PLACES)
def test_a_result_is_written_to_every_kind_of_place(kind, there, monkeypatch):
    out = prepared(kind, monkeypatch)
    before = Path(out).stat().st_ino if Path(out).exists() else None
    assert saving.check_out(out) == Path(out)
    make(out, 2, figures=False)
    assert value(out) == 2
    assert sorted(contents(out)) == ["fit.json", "table"]
    assert hidden(there, out) == []
    assert before in (None, Path(out).stat().st_ino)  # who stands in the folder stays in it
    assert (there / "out").is_symlink() == (kind == "link")


@pytest.mark.parametrize(
    "out", ["nowhere", "circle", "nowhere/out", "tofile", "file/out", "x" * 300 + "/out", "a/" + "x" * 300]
)
def test_a_place_that_cannot_be_is_refused_before_the_work_and_left_alone(there, out):
    os.symlink("gone", "nowhere")
    os.symlink("circle", "circle")
    Path("file").write_text("mine")
    os.symlink("file", "tofile")
    with pytest.raises(InputError, match=r"--out .*allowed:"):
        saving.check_out(out)
    assert sorted(os.listdir()) == ["circle", "file", "nowhere", "tofile"]


@pytest.mark.parametrize(
    ("file", "text", "why"),
    [
        ("notes.txt", "mine", "crowdjax did not write"),
        ("figures/mine", "mine", "crowdjax did not write"),
        ("table", "corrected by hand", "was changed since"),
        ("fit.json", None, "was changed since"),
    ],
)
@pytest.mark.parametrize("write", [saving.check_out, lambda out: make(out, 2)])
def test_what_somebody_made_or_edited_is_never_lost(file, text, why, write):
    make("out", 1)
    path = Path("out", file)
    path.write_text(path.read_text().replace('"yes"', '"maybe"') if text is None else text)
    before = contents("out")
    with pytest.raises(InputError, match=f"holds {file}, which {why}"):
        write("out")
    assert contents("out") == before


def test_what_is_edited_during_the_work_is_not_lost(there):
    make("out", 1)

    def work():
        with saving.new_result("out", {"value": 2}) as folder:
            (folder / "table").write_text("table 2")
            Path("out/table").write_text("edited meanwhile")

    with pytest.raises(InputError, match="holds table, which was changed"):
        work()
    assert Path("out/table").read_text() == "edited meanwhile"
    assert hidden(there, "out") == []


def test_a_file_of_an_earlier_result_that_is_gone_is_no_edit():
    make("out", 1)
    Path("out/table").unlink()
    make("out", 2)
    assert value("out") == 2


@root
def test_a_folder_that_may_not_be_written_to_is_refused_before_the_work(there):
    make("out", 1)
    os.makedirs("sticky", mode=0o777)
    make("sticky", 1)
    os.chmod("sticky", 0o1777)
    os.chmod(there, 0o755)
    for parent in there.parents:
        if parent.stat().st_mode & 0o005 != 0o005 and parent != Path("/"):
            os.chmod(parent, parent.stat().st_mode | 0o005)
    try:
        os.seteuid(65534)
        for out in ("out", "new", "sticky"):
            with pytest.raises(InputError, match=r"ermission denied|which may not be replaced"):
                saving.check_out(out)
    finally:
        os.seteuid(0)
    assert (value("out"), value("sticky"), value("new")) == (1, 1, None)


def test_a_folder_that_cannot_be_renamed_is_written_into(monkeypatch):
    """As the root of a mounted volume is: EBUSY."""
    os.mkdir("out")
    for name in ("rename", "replace"):
        real = getattr(os, name)

        def busy(old, new, real=real):
            if "out" in (os.path.basename(old), os.path.basename(new)):
                raise OSError(errno.EBUSY, "Device or resource busy")
            return real(old, new)

        monkeypatch.setattr(os, name, busy)
    make("out", 1)
    make("out", 2)
    assert value("out") == 2


@root
def test_a_volume_takes_a_result(there):
    os.mkdir("out")
    if subprocess.run(["mount", "-t", "tmpfs", "none", "out"], capture_output=True).returncode:
        pytest.skip("no volume can be mounted here")
    try:
        os.mkdir("out/lost+found")  # as new volumes have
        make("out", 1)
        make("out", 2)
        assert value("out") == 2
        assert sorted(os.listdir("out")) == ["figures", "fit.json", "lost+found", "table"]
        assert os.listdir(there) == ["out"]
        os.mkdir("full")
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "none", "full"], check=True)
        try:
            Path("full/fills").write_bytes(bytes(4096))
            with pytest.raises(InputError, match="cannot be written: No space left"):
                saving.check_out("full/out")  # before the work
        finally:
            subprocess.run(["umount", "full"], check=True)
    finally:
        subprocess.run(["umount", "out"], check=True)


# Kills


class Killed(BaseException):
    """What a process is told that is killed: nothing it does from then on reaches the disk."""


@contextlib.contextmanager
def killed(at: int):
    """Ends this process, as far as the disk can see it, before its call ``at`` that changes something there."""
    calls, patch = 0, pytest.MonkeyPatch()

    def deadly(real):
        def call(*given, **more):
            nonlocal calls
            calls += 1
            if calls >= at:
                raise Killed
            return real(*given, **more)

        return call

    for name in ("rename", "replace", "fsync", "unlink", "rmdir", "mkdir"):
        patch.setattr(os, name, deadly(getattr(os, name)))
    try:
        yield
    finally:
        patch.undo()


def every_kill(act, step: int = 1):
    """Calls ``act`` again and again, killed a call later each time, until it ends; yields after each time."""
    for at in range(1, 1000, step):
        try:
            with killed(at):
                act()
        except Killed:
            yield False
        else:
            yield True
            return
    raise AssertionError("it never ended")


@pytest.mark.parametrize("look", [True, False])
@pytest.mark.parametrize("kind", PLACES)
def test_a_kill_at_any_moment_leaves_the_old_or_the_new_result(kind, look, there, monkeypatch):
    """Whether a reader or a writer is the next to look there."""
    out, seen = prepared(kind, monkeypatch), set()
    before = None if kind in ("new", "empty") else 1
    ends = every_kill(lambda: make(out, 2), 1 if look else 3)
    for done in ends:
        if look and kind != "other":
            seen.add(value(out))
            assert seen <= {before, 2}
            assert not done or value(out) == 2
        make(out, 3, figures=False)
        assert value(out) == 3
        assert sorted(contents(out)) == ["fit.json", "table"]
        assert hidden(there, out) == []
        if kind == "new":
            disk.shutil.rmtree(out)
        elif kind == "empty":
            for path in Path(out).iterdir():
                path.unlink()
        else:
            make(out, 1)
    if look and kind not in ("new", "other"):
        assert seen == {before, 2}


def test_a_kill_while_a_file_is_added_leaves_both_or_neither(there):
    make("out", 1)
    seen = set()
    for _ in every_kill(lambda: saving.add_file("out", "log.jsonl", "{}")):
        assert value("out") == 1
        files = saving.read_result("out")["files"]
        assert ("log.jsonl" in files) == Path("out/log.jsonl").exists()
        seen.add("log.jsonl" in files)
        make("out", 1)
        assert sorted(contents("out")) == ["figures/one", "fit.json", "table"]
        assert hidden(there, "out") == []
    assert seen == {True, False}


def test_a_kill_while_a_file_is_written_leaves_the_old_or_the_new_one(there):
    Path("a").write_text("old")

    def write():
        with disk.file("a") as new:
            new.write_text("new")

    seen = set()
    for _ in every_kill(write):
        seen.add(Path("a").read_text())
        with disk.file("a") as new:
            new.write_text("old")
        assert os.listdir() == ["a"]
    assert seen == {"old", "new"}


def test_everything_is_flushed_before_a_renaming_is_relied_on(monkeypatch):
    """Of a result: its files and folders before it counts, and the folder of the names after."""
    events, names = [], {}
    real_open, real_sync = os.open, os.fsync

    def opened(path, *given, **more):
        handle = real_open(path, *given, **more)
        names[handle] = os.fspath(path)
        return handle

    monkeypatch.setattr(os, "open", opened)
    monkeypatch.setattr(os, "fsync", lambda handle: (events.append(Path(names[handle]).name), real_sync(handle)))
    for name in ("rename", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda a, b, real=real: (events.append((Path(a).name, Path(b).name)), real(a, b)))
    make("out", 1)
    last = max(i for i, event in enumerate(events) if event == ("result", "out"))
    assert {"table", "one", "figures", "fit.json", "result"} <= {e for e in events[:last] if isinstance(e, str)}
    assert Path.cwd().name in events[last:]
    events.clear()
    make("out", 2)
    whole = max(i for i, event in enumerate(events) if isinstance(event, tuple) and event[1] == saving.JOURNAL)
    assert {"table", "one", "figures", "fit.json", "result"} <= {e for e in events[:whole] if isinstance(e, str)}
    assert events[whole + 1] == "out"
    record = events.index(("fit.json", "fit.json"), whole)
    assert events.index(("table", "table"), whole) < record < len(events) - 1


@pytest.mark.parametrize("kind", PLACES)
def test_who_is_asked_to_stop_at_any_moment_leaves_nothing_beside(kind, there, monkeypatch):
    """As by Ctrl-C: one call is interrupted, those after it reach the disk."""
    out = prepared(kind, monkeypatch)
    for at in range(1, 1000):
        calls, patch = 0, pytest.MonkeyPatch()

        def interrupted(real):
            def call(*given, **more):
                nonlocal calls
                calls += 1
                if calls == at:  # noqa: B023
                    raise KeyboardInterrupt
                return real(*given, **more)

            return call

        for name in ("rename", "replace", "fsync", "unlink", "rmdir", "mkdir"):
            patch.setattr(os, name, interrupted(getattr(os, name)))
        try:
            make(out, 2)
        except KeyboardInterrupt:
            patch.undo()
            assert hidden(there, out) == []
        else:
            patch.undo()
            break
    assert calls < at
    assert value(out) == 2


# Names that are private


def test_private_names_cannot_be_foreseen_or_opened_and_results_have_the_usual_mode(there):
    names, before = set(), os.umask(0o027)
    try:
        for _ in range(2):
            with disk.private(there / "out") as home:
                names.add(home.name)
                assert home.stat().st_mode & 0o777 == 0o700
                assert str(os.getpid()) not in home.name
        assert len(names) == 2
        make("out", 1)
        make("out", 2)
        with disk.file("a") as new:
            new.write_text("x")
    finally:
        os.umask(before)
    assert [Path(p).stat().st_mode & 0o777 for p in ("out", "out/figures", "out/table", "a")] == [0o750] * 2 + [
        0o640
    ] * 2


def test_what_a_killed_process_of_the_same_number_left_is_no_obstacle_and_goes(there):
    for name in (f".out.{os.getpid()}.new", ".out.abcd1234.new"):
        (there / name / "result").mkdir(parents=True)
    make("out", 1)
    assert os.listdir() == ["out"]


def test_what_a_living_process_writes_is_left_alone(there):
    with disk.private(there / "out") as home:
        make("out", 1)
        assert home.is_dir()
        make("out", 2)
        assert home.is_dir()
    assert os.listdir() == ["out"]


def test_links_and_folders_of_others_are_not_taken_for_left_overs(there):
    (there / "mine").mkdir()
    (there / "mine" / "file").write_text("mine")
    os.symlink("mine", ".out.abcd1234.new")
    make("out", 1)
    assert Path("mine/file").read_text() == "mine"
    assert Path(".out.abcd1234.new").is_symlink()


@root
def test_a_result_that_another_user_prepared_is_not_taken_in():
    make("other", 7)
    make("out", 1)
    os.mkdir(f"out/{saving.JOURNAL}")
    os.rename("other", f"out/{saving.JOURNAL}/result")
    os.chown(f"out/{saving.JOURNAL}", 65534, 65534)
    assert value("out") == 1
    with pytest.raises(InputError, match=f"holds {saving.JOURNAL}, which crowdjax did not write"):
        saving.check_out("out")


@pytest.mark.parametrize("kind", ["new", "earlier"])
def test_of_two_at_once_both_end_whole(kind, there, monkeypatch):
    prepared(kind, monkeypatch)
    failed = []

    def write(k):
        try:
            for j in range(5):
                make("out", 10 * k + j)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=write, args=(k,)) for k in range(1, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert value("out") in (14, 24, 34)
    assert hidden(there, "out") == []


def test_a_result_that_is_being_replaced_does_not_look_changed(there, monkeypatch):
    make("out", 1)
    known, others = saving._known, []

    def meanwhile(place):
        """Somebody replaces the result between the look at its record and the look at its files, if that can be."""
        found = known(place)
        if not others:
            others.append(threading.Thread(target=make, args=("out", 2)))
            others[0].start()
            others[0].join(0.5)
        return found

    monkeypatch.setattr(saving, "_known", meanwhile)
    saving.check_out("out")
    others[0].join()
    assert value("out") == 2


def test_a_place_that_another_process_has_is_refused(monkeypatch):
    make("out", 1)
    monkeypatch.setattr(disk, "WAIT", 0.1)
    handle = os.open("out", os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with pytest.raises(InputError, match="another process writes there; wait"):
        make("out", 2)
    os.close(handle)
    make("out", 3)
    assert value("out") == 3


def test_a_state_is_one_process_s_at_a_time_and_one_fit_s():
    other = pytest.raises(InputError, match="another process works there")
    with saving.claim("s", {"seed": 1}), other, saving.claim("s", {"seed": 1}):
        pass
    with saving.claim("s", {"seed": 1}):
        assert os.listdir("s") == ["settings.json"]
    with pytest.raises(InputError, match="not the state of a fit of these labels"), saving.claim("s", {"seed": 2}):
        pass


# Seals


def change(path="out/fit.json", **fields):
    record = json.loads(Path(path).read_text())
    Path(path).write_text(json.dumps(record | fields))


@pytest.mark.parametrize("name", ["fit.json", "predict.json", "check.json"])
def test_a_record_that_was_changed_is_refused(name):
    make("out", 1, name=name)
    assert saving.read_result("out", name)["classes"] == ["no", "yes"]
    change(f"out/{name}", classes=["yes", "no"])
    with pytest.raises(InputError, match=f"{name}: changed since it was written"):
        saving.read_result("out", name)


def test_a_record_without_its_hash_is_refused_and_one_of_format_1_has_none():
    make("out", 1)
    change(sha256=None)
    with pytest.raises(InputError, match="changed since"):
        saving.read_result("out")
    change(crowdjax={"version": "0.1.0", "format": 1})
    assert saving.read_result("out")["value"] == 1
    make("out", 2)  # and may be replaced
    change(crowdjax={"version": "9", "format": 3})
    with pytest.raises(InputError, match="format 3; allowed: 1, 2"):
        saving.read_result("out")
    with pytest.raises(InputError, match=r"holds fit\.json, which was changed"):
        saving.check_out("out")


def test_with_a_key_only_what_it_signed_is_read(monkeypatch):
    make("plain", 1)
    monkeypatch.setenv(saving.KEY, "a secret")
    make("out", 1)
    saving.add_file("out", "log.jsonl", "{}")
    assert value("out") == 1
    with pytest.raises(InputError, match=f"not signed with the key in {saving.KEY}"):
        saving.read_result("plain")
    monkeypatch.delenv(saving.KEY)
    forged = json.loads(Path("out/fit.json").read_text()) | {"classes": ["yes", "no"]}
    Path("out/fit.json").write_text(json.dumps(saving.sealed(forged) | {"hmac": forged["hmac"]}))
    assert saving.read_result("out")["classes"] == ["yes", "no"]  # the plain hash guards against accidents only
    monkeypatch.setenv(saving.KEY, "a secret")
    with pytest.raises(InputError, match="not signed with the key"):
        saving.read_result("out")
    forged["crowdjax"]["format"] = 1
    Path("out/fit.json").write_text(json.dumps(forged))
    with pytest.raises(InputError, match="not signed with the key"):
        saving.read_result("out")
    monkeypatch.setenv(saving.KEY, "")
    with pytest.raises(InputError, match=f"{saving.KEY}: empty; allowed"):
        saving.check_out("new")


def test_a_file_is_not_added_to_a_record_that_was_changed():
    make("out", 1)
    change(classes=["yes", "no"])
    with pytest.raises(InputError, match="changed since"):
        saving.add_file("out", "log.jsonl", "{}")
    assert not Path("out/log.jsonl").exists()
