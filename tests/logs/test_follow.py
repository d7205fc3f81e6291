"""Every line once, in each of the ways in which a log is rotated, cut, moved, copied, packed or lost.

The first 29 are those on which mtail loses or invents lines in 18 and grok_exporter in 14.
"""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from monitor.logs.names import expand, rotated_names
from tests.logs.rig import Rig
from tests.servers import tool

needs_logrotate = pytest.mark.skipif(tool("logrotate") is None, reason="needs logrotate (apt install logrotate)")


def rename_and_create(rig: Rig) -> None:
    rig.write(3)
    rig.start()
    rig.shift()
    rig.writer.reopen(rig.path)
    rig.write(3)
    rig.read()


def partial_line_finished_later(rig: Rig) -> None:
    rig.start()
    line = rig.line()
    rig.writer.write(line[:20])
    rig.read()
    assert rig.totals.lines == 0
    rig.writer.write(line[20:])
    rig.read()


def carriage_returns(rig: Rig) -> None:
    rig.start()
    rig.writer.write(rig.line()[:-1] + b"\r\n" + rig.line()[:-1] + b"\r\n")
    rig.read()


def nul_bytes_in_a_line(rig: Rig) -> None:
    rig.start()
    rig.writer.write(rig.line() + b"\0\0" + rig.line() + rig.line()[:-1] + b"\0\n")
    rig.read()


def line_of_eight_megabytes(rig: Rig) -> None:
    rig.start()
    rig.write()
    with rig.path.open("ab") as log:
        for _ in range(8):
            log.write(b"x" * 2**20)
            log.flush()
            rig.read()
        log.write(b"\n")
    rig.write()
    rig.read()
    assert rig.totals.oversize == 1


def rewritten_smaller_in_place(rig: Rig) -> None:
    rig.write(5)
    rig.start()
    rig.writer.open(rig.path, "t", "new")
    rig.write(2, "new")
    rig.read()


def half_a_line_at_start(rig: Rig) -> None:
    rig.write(3)
    line = rig.line()
    rig.writer.write(line[:30])
    rig.start()
    rig.writer.write(line[30:])
    rig.read()


def copytruncate(rig: Rig) -> None:
    rig.write(3)
    rig.start()
    rig.copytruncate()
    rig.write(2)
    rig.read()


def hole_after_truncation(rig: Rig) -> None:
    rig.writer.open(rig.path, "w", "plain")
    rig.write(5, "plain")
    rig.start()
    with rig.path.open("r+b") as log:
        log.truncate(0)
    rig.read()
    rig.write(3, "plain")  # goes on at its old place, after a hole of NUL bytes
    rig.read()


def hole_after_truncation_seen_at_once(rig: Rig) -> None:
    rig.writer.open(rig.path, "w", "plain")
    rig.write(5, "plain")
    rig.start()
    with rig.path.open("r+b") as log:
        log.truncate(0)
    rig.write(3, "plain")
    rig.read()


def glob_with_packed_files(rig: Rig) -> None:
    rig.pattern = f"{rig.path}*"
    rig.write(3)
    rig.start()
    rig.shift()
    rig.writer.reopen(rig.path)
    rig.write(2)
    rig.read()
    pack(rig.rotated())
    rig.now += 5
    rig.write(2)
    rig.read()
    rig.settle()


def writer_keeps_the_old_file(rig: Rig) -> None:
    rig.write(3)
    rig.start()
    rig.logrotate("create")
    for _ in range(8):
        rig.write()
        rig.read()
    rig.writer.reopen(rig.path)
    rig.write(2)
    rig.read()


def writer_keeps_the_old_file_while_another_has_the_new_one(rig: Rig) -> None:
    rig.write(3)
    rig.start()
    rig.logrotate("create")
    rig.writer.open(rig.path, name="second")
    for _ in range(8):
        rig.write()
        rig.write(name="second")
        rig.now += 5
        rig.read()


def gap_before_the_new_file(rig: Rig) -> None:
    rig.write(3)
    rig.start()
    rig.shift()
    rig.read()
    rig.read()
    rig.writer.reopen(rig.path)
    rig.write(3)
    rig.read()


def no_new_file_and_the_old_one_goes_on(rig: Rig) -> None:
    rig.write(3)
    rig.start()
    rig.logrotate("nocreate")
    for _ in range(5):
        rig.write()
        rig.read()
        rig.now += 100
    rig.writer.reopen(rig.path)
    rig.write(3)
    rig.read()


def unread_lines_at_copytruncate(rig: Rig) -> None:
    rig.write(3)
    rig.start()
    rig.write(4)
    rig.logrotate("copytruncate")
    rig.write(2)
    rig.read()


def refilled_exactly_to_the_old_place(rig: Rig) -> None:
    rig.write(3)
    rig.start()
    size = rig.path.stat().st_size
    rig.copytruncate()
    line = rig.line()
    rig.writer.write(b" " * (size - len(line)) + line)
    rig.read()


def refilled_past_the_old_place(rig: Rig) -> None:
    rig.write(2)
    rig.start()
    rig.write(2)
    rig.copytruncate()
    rig.write(9)
    rig.read()


def refilled_to_the_same_size(rig: Rig) -> None:
    rig.write(3)
    rig.start()
    rig.write(1)
    size = rig.path.stat().st_size
    rig.copytruncate()
    line = rig.line()
    rig.writer.write(b" " * (size - len(line)) + line)
    rig.read()


def symlink_is_switched(rig: Rig) -> None:
    first, second = rig.folder / "roll.2026-11-23.1.log", rig.folder / "roll.2026-11-23.2.log"
    rig.path.unlink()
    rig.writer.open(first, name="first")
    rig.path.symlink_to(first.name)
    rig.write(3, "first")
    rig.start()
    rig.writer.open(second, name="second")
    rig.path.unlink()
    rig.path.symlink_to(second.name)
    rig.write(2, "second")
    rig.write(2, "first")
    rig.read()
    rig.write(2, "first")
    rig.write(2, "second")
    rig.read()


def unlinked_and_written_on(rig: Rig) -> None:
    rig.write(3)
    rig.start()
    rig.path.unlink()
    rig.write(2)
    rig.read()
    rig.writer.open(rig.path, name="new")
    rig.write(2, "new")
    rig.write(2)
    rig.read()


def missing_at_start(rig: Rig) -> None:
    rig.path.unlink()
    rig.start()
    rig.read()
    rig.writer.reopen(rig.path)
    rig.write(4)
    rig.read()


def last_line_without_newline_then_rotated(rig: Rig) -> None:
    rig.write(2)
    rig.start()
    rig.writer.write(rig.line()[:-1])
    rig.read()
    rig.shift()
    rig.writer.reopen(rig.path)
    rig.write(2)
    rig.read()
    rig.settle()


def invalid_utf8(rig: Rig) -> None:
    rig.start()
    rig.writer.write(rig.line().replace(b"request", b"requ\xff\xfeest") + rig.line().replace(b"completed", b"\xc3"))
    rig.write()
    rig.read()


def replacement_character(rig: Rig) -> None:
    rig.start()
    rig.writer.write(rig.line().replace(b"request", "\N{REPLACEMENT CHARACTER}".encode()))
    rig.write()
    rig.read()


def three_rotations_between_two_looks(rig: Rig) -> None:
    rig.write(3)
    rig.start()
    for _ in range(3):
        rig.write(2)
        rig.shift()
        rig.writer.reopen(rig.path)
        rig.write(3)
    rig.read()


def glob_with_copytruncate(rig: Rig) -> None:
    rig.pattern = f"{rig.path}*"
    rig.write(3)
    rig.start()
    rig.write(2)
    rig.copytruncate()
    rig.write(2)
    rig.now += 5
    rig.read()
    rig.now += 5
    rig.read()


def restarted(rig: Rig) -> None:
    rig.write(3)
    rig.start()
    rig.save()
    rig.write(3)
    rig.restart()
    rig.write(2)
    rig.read()


def restarted_after_a_rotation(rig: Rig) -> None:
    rig.write(3)
    rig.start()
    rig.save()
    rig.write(3)
    rig.shift()
    rig.write(2)
    rig.writer.reopen(rig.path)
    rig.write(2)
    rig.restart()


def directory_made_anew(rig: Rig) -> None:
    folder = rig.folder / "logs"
    folder.mkdir()
    rig.path = folder / "app.log"
    rig.pattern = str(rig.path)
    rig.writer.reopen(rig.path)
    rig.write(3)
    rig.start()
    folder.rename(rig.folder / "old")
    rig.write(2)
    rig.read()
    folder.mkdir()
    rig.writer.open(rig.path, name="new")
    rig.write(2, "new")
    rig.write(1)
    rig.read()


# ---- more than the 29


def pack(path: Path) -> None:
    """As logrotate does: the packed file appears, keeps the time of the other, and that one goes."""
    packed = path.with_name(path.name + ".gz")
    status = path.stat()
    with path.open("rb") as plain, gzip.open(packed, "wb") as out:
        shutil.copyfileobj(plain, out)
    os.utime(packed, ns=(status.st_atime_ns, status.st_mtime_ns))
    path.unlink()


def restarted_after_the_file_was_packed(rig: Rig) -> None:
    rig.writer.write(rig.many(40))
    rig.start()
    rig.save()
    rig.writer.write(rig.many(30))
    rig.shift()
    rig.writer.reopen(rig.path)
    rig.write(2)
    pack(rig.rotated())
    rig.restart()
    rig.settle()


def restarted_after_three_rotations_and_packing(rig: Rig) -> None:
    rig.write(3)
    rig.start()
    rig.save()
    for _ in range(3):
        rig.write(2)
        rig.logrotate("create", "compress", "delaycompress")
        rig.writer.reopen(rig.path)
        rig.write(3)
    rig.restart()
    rig.settle()


def restarted_after_copytruncate(rig: Rig) -> None:
    rig.write(3)
    rig.start()
    rig.save()
    rig.write(3)
    rig.copytruncate()
    rig.write(9)
    rig.restart()


def restarted_after_copytruncate_and_packing(rig: Rig) -> None:
    rig.write(3)
    rig.start()
    rig.save()
    rig.write(3)
    rig.logrotate("copytruncate", "compress")
    rig.write(2)
    rig.restart()


def copytruncate_and_packed_before_we_look(rig: Rig) -> None:
    rig.write(3)
    rig.start()
    rig.write(3)
    rig.logrotate("copytruncate", "compress")
    rig.write(2)
    rig.read()


def two_copytruncates_between_two_looks(rig: Rig) -> None:
    rig.write(3)
    rig.start()
    rig.write(2)
    rig.copytruncate()
    rig.write(4)
    rig.copytruncate()
    rig.write(2)
    rig.read()


def cut_before_anything_was_read(rig: Rig) -> None:
    rig.start()
    rig.write(3)
    rig.look()
    rig.copytruncate()
    rig.write(2)
    rig.read()


def inode_used_again(rig: Rig) -> None:
    rig.write(3)
    rig.start()
    rig.save()
    rig.stop()
    kept = rig.folder / "app.log.1"
    shutil.copyfile(rig.path, kept)
    with rig.path.open("r+b") as log:  # another file with the same inode: what deleting and creating may give
        log.truncate(0)
    rig.write(2)
    rig.start()


def moved_away_and_back(rig: Rig) -> None:
    rig.write(3)
    rig.start()
    rig.shift()
    rig.read()
    rig.write(2)
    rig.read()
    rig.rotated().rename(rig.path)
    rig.write(2)
    rig.read()


def dates_for_numbers(rig: Rig) -> None:
    rig.write(3)
    rig.start()
    for _ in range(2):
        rig.write(2)
        rig.logrotate("create", "dateext", "dateformat -%Y%m%d-%s" + str(rig.lines))
        rig.writer.reopen(rig.path)
        rig.write(2)
    rig.read()
    rig.settle()


def old_files_grow_after_they_were_let_go(rig: Rig) -> None:
    rig.write(3)
    rig.start()
    rig.shift()
    rig.writer.open(rig.path, name="new")
    rig.write(3, "new")
    rig.read()
    rig.settle()
    rig.write(2)  # a minute later, into the old file
    rig.shift()
    rig.writer.reopen(rig.path, "new")
    rig.write(2, "new")
    rig.read()


def packed_after_it_was_read(rig: Rig) -> None:
    rig.writer.write(rig.many(20))
    rig.start()
    for _ in range(4):
        rig.write(3)
        rig.read()
        rig.logrotate("create", "compress", "delaycompress")
        rig.writer.reopen(rig.path)
        rig.write(3)
        rig.read()
        rig.settle()


def waits_for_a_writer_that_does_not_reopen(rig: Rig) -> None:
    rig.write(3)
    rig.start()
    rig.logrotate("create")
    rig.read()
    rig.settle()  # minutes without a line, and the new file is empty
    rig.write(3)
    rig.read()


# ---- the same content in another file


def put_a_copy_in_place(rig: Rig) -> None:
    """As `sed -i`, rsync and editors do."""
    copy = rig.folder / "sedXYZ"
    shutil.copyfile(rig.path, copy)
    copy.rename(rig.path)


def replaced_by_its_copy(rig: Rig) -> None:
    rig.write(30)
    rig.start()
    put_a_copy_in_place(rig)
    rig.read()
    rig.writer.reopen(rig.path)
    rig.write(2)
    rig.read()
    rig.settle()


def replaced_by_its_copy_with_unread_lines(rig: Rig) -> None:
    rig.write(3)
    rig.start()
    rig.write(3)
    put_a_copy_in_place(rig)
    rig.write(2)  # into the file that is gone
    rig.read()
    rig.writer.reopen(rig.path)
    rig.write(2)
    rig.read()
    rig.settle()


def replaced_by_its_copy_amid_a_line(rig: Rig) -> None:
    rig.write(3)
    rig.start()
    line = rig.line()
    rig.write(1)
    rig.writer.write(line[:30])
    put_a_copy_in_place(rig)
    rig.read()
    rig.writer.write(line[30:])
    rig.read()


def replaced_by_its_copy_late(rig: Rig) -> None:
    rig.write(30)
    rig.start()
    copy = rig.path.with_name("copy")
    shutil.copyfile(rig.path, copy)
    rig.path.unlink()
    look_for_a_while(rig)
    copy.rename(rig.path)
    rig.writer.reopen(rig.path)
    rig.write(2)
    rig.read()
    rig.settle()


def replaced_by_its_copy_while_nobody_looks(rig: Rig) -> None:
    rig.write(30)
    rig.start()
    rig.save()
    rig.stop()
    rig.write(2)
    put_a_copy_in_place(rig)
    rig.writer.reopen(rig.path)
    rig.write(2)
    rig.start()
    rig.settle()


# ---- logs beside logs


def two_logs(rig: Rig, *, lines: int = 2) -> None:
    """Numbered logs of one pattern; the second one's writer is called `other`."""
    rig.pattern = str(rig.folder / "bff-*.log")
    rig.path = rig.folder / "bff-0.log"
    rig.writer.reopen(rig.path)
    rig.writer.open(rig.folder / "bff-1.log", name="other")
    rig.write(lines)
    rig.write(lines, "other")
    rig.start()


def look_for_a_while(rig: Rig) -> None:
    for _ in range(4):
        rig.now += 3
        rig.read()


def two_logs_grow_while_nobody_looks(rig: Rig) -> None:
    two_logs(rig)
    rig.save()
    rig.stop()
    rig.write(3)
    rig.write(3, "other")
    rig.start()
    look_for_a_while(rig)


def two_logs_that_were_empty(rig: Rig) -> None:
    two_logs(rig, lines=0)
    for _ in range(3):
        rig.write(1)
        rig.write(1, "other")
        look_for_a_while(rig)


def one_of_two_logs_is_removed(rig: Rig) -> None:
    two_logs(rig)
    rig.path.unlink()
    rig.write(3, "other")
    look_for_a_while(rig)


def one_of_two_logs_is_rotated_late(rig: Rig) -> None:
    two_logs(rig)
    rig.shift()
    rig.write(3, "other")
    look_for_a_while(rig)
    rig.writer.reopen(rig.path)
    rig.write(2)
    look_for_a_while(rig)
    rig.settle()


def one_of_two_logs_is_cut(rig: Rig) -> None:
    two_logs(rig)
    rig.write(1)
    rig.copytruncate()
    rig.write(2)
    rig.write(3, "other")
    look_for_a_while(rig)
    rig.settle()


def one_of_two_logs_becomes_a_third(rig: Rig) -> None:
    two_logs(rig)
    rig.path.rename(rig.folder / "bff-2.log")
    rig.write(2)
    look_for_a_while(rig)
    rig.save()
    rig.write(2)
    rig.restart()
    look_for_a_while(rig)


def one_of_two_logs_becomes_a_third_while_nobody_looks(rig: Rig) -> None:
    two_logs(rig)
    rig.save()
    rig.stop()
    rig.write(2)
    rig.path.rename(rig.folder / "bff-2.log")
    rig.writer.open(rig.path, name="new")
    rig.write(2, "new")
    rig.start()
    rig.write(2)
    look_for_a_while(rig)


def empty_one_of_two_logs_is_renamed_while_nobody_looks(rig: Rig) -> None:
    two_logs(rig, lines=0)
    rig.save()
    rig.stop()
    rig.shift()
    rig.write(2)
    rig.start()
    look_for_a_while(rig)
    rig.writer.reopen(rig.path)
    rig.write(2)
    look_for_a_while(rig)


def let_go_and_then_renamed_to_another_name_of_the_pattern(rig: Rig) -> None:
    two_logs(rig)
    rig.shift()
    rig.writer.reopen(rig.path)
    rig.write(2)
    rig.settle()
    rig.rotated().rename(rig.folder / "bff-2.log")
    look_for_a_while(rig)


def rotated_to_names_of_the_pattern(rig: Rig) -> None:
    rig.pattern = str(rig.folder / "app*.log")
    rig.write(3)
    rig.start()
    for _ in range(3):
        rig.write(1)
        for number in (2, 1):
            older = rig.folder / f"app.{number}.log"
            if older.exists():
                older.rename(rig.folder / f"app.{number + 1}.log")
        rig.path.rename(rig.folder / "app.1.log")
        rig.write(1)
        rig.writer.reopen(rig.path)
        rig.write(2)
        look_for_a_while(rig)
    rig.settle()


def numbered_log_whose_oldest_is_removed(rig: Rig) -> None:
    rig.pattern = str(rig.folder / "roll.*.log")
    for number in range(1, 5):
        rig.writer.reopen(rig.folder / f"roll.{number}.log")
        rig.write(3)
        if number == 1:
            rig.start()
        look_for_a_while(rig)
        if number > 1:
            (rig.folder / f"roll.{number - 1}.log").unlink()
        look_for_a_while(rig)
    rig.settle()


def beside_another_log(rig: Rig, name: str, other: str) -> None:
    """One log is followed by its path, through a rotation, a cut and a restart; another one grows beside it."""
    rig.path = rig.folder / name
    rig.pattern = str(rig.path)
    rig.writer.reopen(rig.path)
    neighbour = rig.folder / other
    foreign = b'{"level":50,"msg":"not ours %s"}\n' % (b"x" * 300)

    def grow(count: int) -> None:
        rig.write(2)
        with neighbour.open("ab") as log:
            log.write(foreign * count)
        if rig.journal:
            rig.read()

    grow(1)
    rig.start()
    grow(2)
    rig.shift()
    rig.writer.reopen(rig.path)
    grow(3)
    rig.copytruncate()
    grow(1)
    rig.save()
    rig.stop()
    rig.write(2)
    neighbour.write_bytes(foreign * 9)
    rig.start()
    look_for_a_while(rig)
    rig.settle()


def link_is_switched_twice_between_two_looks(rig: Rig) -> None:
    rig.path.unlink()
    for number in range(1, 5):
        target = rig.folder / f"roll.2026-11-23.{number}.log"
        rig.writer.reopen(target)
        rig.path.unlink(missing_ok=True)
        rig.path.symlink_to(target.name)
        rig.write(2)
        if number == 1:
            rig.start()
            rig.save()
    rig.restart()
    look_for_a_while(rig)


CASES: list[Callable[[Rig], None]] = [
    rename_and_create, partial_line_finished_later, half_a_line_at_start, copytruncate, hole_after_truncation,
    hole_after_truncation_seen_at_once, glob_with_packed_files, gap_before_the_new_file, refilled_past_the_old_place,
    nul_bytes_in_a_line, carriage_returns, rewritten_smaller_in_place, refilled_exactly_to_the_old_place,
    refilled_to_the_same_size, symlink_is_switched, unlinked_and_written_on, missing_at_start,
    last_line_without_newline_then_rotated, invalid_utf8, replacement_character, three_rotations_between_two_looks,
    glob_with_copytruncate, restarted, restarted_after_a_rotation, directory_made_anew,
    restarted_after_the_file_was_packed, restarted_after_copytruncate, two_copytruncates_between_two_looks,
    cut_before_anything_was_read, inode_used_again, moved_away_and_back, old_files_grow_after_they_were_let_go,
    two_logs_grow_while_nobody_looks, two_logs_that_were_empty, one_of_two_logs_is_removed,
    one_of_two_logs_is_rotated_late, one_of_two_logs_is_cut, one_of_two_logs_becomes_a_third,
    one_of_two_logs_becomes_a_third_while_nobody_looks, rotated_to_names_of_the_pattern,
    empty_one_of_two_logs_is_renamed_while_nobody_looks, let_go_and_then_renamed_to_another_name_of_the_pattern,
    numbered_log_whose_oldest_is_removed, link_is_switched_twice_between_two_looks, replaced_by_its_copy,
    replaced_by_its_copy_with_unread_lines, replaced_by_its_copy_amid_a_line, replaced_by_its_copy_late,
    replaced_by_its_copy_while_nobody_looks,
]  # fmt: skip
LOGROTATE_CASES: list[Callable[[Rig], None]] = [
    writer_keeps_the_old_file, writer_keeps_the_old_file_while_another_has_the_new_one,
    no_new_file_and_the_old_one_goes_on, unread_lines_at_copytruncate, restarted_after_three_rotations_and_packing,
    restarted_after_copytruncate_and_packing, copytruncate_and_packed_before_we_look, dates_for_numbers,
    packed_after_it_was_read, waits_for_a_writer_that_does_not_reopen,
]  # fmt: skip


@pytest.mark.parametrize(
    "happens",
    [*CASES, *(pytest.param(case, marks=needs_logrotate) for case in LOGROTATE_CASES)],
    ids=lambda case: case.__name__,
)
def test_each_line_counts_once(rig: Rig, happens: Callable[[Rig], None]) -> None:
    happens(rig)
    assert rig.is_exact()


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("bff-0.log", "bff-1.log"),
        ("bff-1.log", "bff-0.log"),
        ("app.log", "app2.log"),
        ("app.log", "app-2.log"),
        ("out-0.log", "out-1.log"),
        ("roll.2026-11-23.2.log", "roll.2026-11-23.1.log"),
    ],
)
def test_another_log_is_not_taken_for_a_rotated_one(rig: Rig, name: str, other: str) -> None:
    beside_another_log(rig, name, other)
    assert rig.is_exact()


@pytest.mark.parametrize("is_removed", [False, True])
@pytest.mark.parametrize("lines", [0, 3])
def test_new_file_that_begins_alike_is_read_from_its_beginning(rig: Rig, lines: int, is_removed: bool) -> None:
    banner = b'{"level":30,"msg":"%s"}\n' % (b"s" * 400)
    rig.writer.write(banner)
    rig.write(lines)
    rig.start()
    if is_removed and lines:  # a removed file that held the banner alone cannot be told from one that was replaced
        rig.path.unlink()
    else:
        rig.shift()
    rig.writer.reopen(rig.path)
    rig.writer.write(banner)
    rig.write(9)
    rig.read()
    rig.settle()
    assert rig.is_exact(others=2)


def test_line_over_the_limit_counts_once(rig: Rig) -> None:
    line_of_eight_megabytes(rig)
    assert rig.is_exact(others=1)


def test_half_a_line_that_is_cut_away_is_lost_and_says_so(rig: Rig) -> None:
    rig.write(2)
    rig.start()
    rig.writer.write(b'{"level":30,"half')
    rig.read()
    with rig.path.open("r+b") as log:
        log.truncate(0)
    rig.write(2)
    rig.read()
    assert rig.is_exact(lost=17)


def test_unread_lines_that_are_cut_away_are_lost_and_say_so(rig: Rig) -> None:
    rig.write(2)
    rig.start()
    rig.writer.write(b"x" * 99 + b"\n")
    rig.look()
    with rig.path.open("r+b") as log:
        log.truncate(0)
    rig.write(2)
    rig.read()
    assert rig.is_exact(lost=100)


def test_file_that_is_gone_after_a_restart_is_a_gap(rig: Rig) -> None:
    rig.write(2)
    rig.start()
    rig.save()
    rig.stop()
    rig.path.unlink()
    rig.writer.reopen(rig.path)
    rig.write(2)
    rig.start()
    assert rig.counted() == (rig.lines, rig.total)
    assert rig.gaps == 1


def test_what_was_lost_of_a_file_stays_counted_after_it_is_gone(rig: Rig) -> None:
    rig.pattern = str(rig.folder / "*.log")
    rig.writer.open(rig.folder / "other.log", name="other")
    rig.write(2)
    rig.write(2, "other")
    rig.start()
    rig.writer.write(b"x" * 99 + b"\n")
    rig.look()
    rig.cut()
    rig.read()
    assert rig.lost == 100
    rig.path.unlink()
    for _ in range(3):
        rig.now += 700
        rig.read()
    assert rig.journal
    assert list(rig.journal.followers) == [str(rig.folder / "other.log")]
    assert rig.is_exact(lost=100)
    rig.restart()
    assert rig.is_exact(lost=100)


def test_file_without_access_is_a_problem_until_it_can_be_read(rig: Rig) -> None:
    rig.write(2)
    rig.start()
    rig.shift()
    rig.path.mkdir()
    rig.read()
    assert rig.journal
    assert rig.journal.problem == "not a file"
    rig.path.rmdir()
    rig.writer.reopen(rig.path)
    rig.write(2)
    rig.read()
    assert rig.journal.problem == ""
    assert rig.is_exact()


def test_first_look_reads_only_the_windows(rig: Rig) -> None:
    old = b'{"level":30,"time":1500000000000,"msg":"old"}\n' * 200_000
    rig.path.write_bytes(old)
    rig.write(5)
    rig.start()
    assert rig.counted() == (rig.lines, rig.total)
    assert rig.totals.lines < 10_000  # of the old ones only a little more than a block


def test_deleted_file_that_nothing_follows_is_let_go_at_last(rig: Rig) -> None:
    rig.write(2)
    rig.start()
    rig.path.unlink()
    rig.read()
    rig.now += 700
    rig.read()
    assert rig.journal
    assert not any(follower.old for follower in rig.journal.followers.values())


@pytest.mark.parametrize(
    ("name", "other", "rotated"),
    [
        ("app.log", "app.log.1", True),
        ("app.log", "app.log.2.gz", True),
        ("app.log", "app.log-20261123", True),
        ("app.log", "app.log-20261123-1795.gz", True),
        ("app.log", "app-2026-11-23.log", True),
        ("app.log", "app.1.log", True),
        ("app.log", "app.log.old", True),
        ("app.log", "app-audit.log", False),
        ("app.log", "app.log.lock", False),
        ("app.log", "error.log.1", False),
        ("app.log", "app-1795000000.log", True),
        ("app.log", "app2.log", False),
        ("app.log", "app-2.log", False),
        ("bff-0.log", "bff-1.log", False),
        ("bff-0.log", "bff-0.log.1", True),
        ("out-0.log", "out-1.log", False),
        ("roll.2026-11-23.2.log", "roll.2026-11-23.1.log", False),
        ("roll.2026-11-23.2.log", "other.2026-11-23.1.log", False),
        ("syslog", "syslog.1", True),
    ],
)
def test_names_that_rotation_gives(name: str, other: str, rotated: bool) -> None:
    assert rotated_names(name)(other) is rotated


def test_pattern_names_logs_and_not_what_was_rotated_from_them(tmp_path: Path) -> None:
    for name in ("a.log", "a.log.1", "a.log.2.gz", "b.log", "c.log.1"):
        (tmp_path / name).touch()
    assert [Path(path).name for path in expand(f"{tmp_path}/*.log*")] == ["a.log", "b.log", "c.log"]


def test_log_is_opened_read_only_and_never_locked(rig: Rig) -> None:
    rig.write(2)
    rig.start()
    opened = [
        Path(f"/proc/self/fdinfo/{entry.name}").read_text()
        for entry in Path("/proc/self/fd").iterdir()
        if os.path.realpath(entry) == str(rig.path)
    ]
    assert opened
    assert all(int(text.split("flags:")[1].split()[0], 8) & os.O_ACCMODE == os.O_RDONLY for text in opened)
    assert all("lock:" not in text for text in opened)
    assert subprocess.run(["true"], check=True).returncode == 0
