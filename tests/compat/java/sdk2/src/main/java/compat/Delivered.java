package compat;

import java.io.FileOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;

/** The file of what a consumer was given, in the order in which it was: shard, sequence number, key, message. */
final class Delivered {
    private final OutputStream file;

    Delivered(String path) throws IOException {
        file = new FileOutputStream(path, true);
    }

    /** Appends a batch of lines and hands it to the system before the caller checkpoints. */
    synchronized void append(StringBuilder lines) {
        try {
            file.write(lines.toString().getBytes(StandardCharsets.UTF_8));
            file.flush();
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }

    static void line(StringBuilder lines, String shard, String sequence, String key, String message) {
        lines.append(shard).append('\t').append(sequence).append('\t').append(key).append('\t').append(message);
        lines.append('\n');
    }
}
