package ticketapi;

import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Path;

/** Checks that an ELF file is complete: a truncated one makes the system's loader die of SIGBUS. */
final class Elf {
    private static final int MAGIC = 0x7f454c46;
    private static final int HEADER = 64;
    private static final int LOAD = 1;

    private Elf() {
    }

    /** Returns true if parts are missing that the file's own headers mention; false also for files other than ELF. */
    static boolean isCutOff(Path file) {
        try (RandomAccessFile input = new RandomAccessFile(file.toFile(), "r")) {
            long size = input.length();
            ByteBuffer header = read(input, 0, HEADER);
            if (size < HEADER || header.getInt(0) != MAGIC) {
                return false;
            }
            boolean wide = header.get(4) == 2;
            header.order(order(header));
            long segments = wide ? header.getLong(32) : header.getInt(28);
            int length = header.getShort(wide ? 54 : 42);
            int count = header.getShort(wide ? 56 : 44);
            ByteBuffer table = read(input, segments, length * count);
            table.order(header.order());
            if (table.limit() < length * count) {
                return true;
            }
            for (int at = 0; at < length * count; at += length) {
                long offset = wide ? table.getLong(at + 8) : table.getInt(at + 4);
                long inFile = wide ? table.getLong(at + 32) : table.getInt(at + 16);
                if (table.getInt(at) == LOAD && offset + inFile > size) {
                    return true;
                }
            }
            return false;
        } catch (IOException | RuntimeException e) {
            // The loader has better messages for all other faults.
            return false;
        }
    }

    private static ByteOrder order(ByteBuffer header) {
        return header.get(5) == 2 ? ByteOrder.BIG_ENDIAN : ByteOrder.LITTLE_ENDIAN;
    }

    /** Returns the bytes from {@code position} on, at most {@code length}. */
    private static ByteBuffer read(RandomAccessFile input, long position, int length) throws IOException {
        byte[] bytes = new byte[(int) Math.max(0, Math.min(length, input.length() - position))];
        input.seek(position);
        input.readFully(bytes);
        return ByteBuffer.wrap(bytes);
    }
}
