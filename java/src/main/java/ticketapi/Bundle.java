package ticketapi;

import java.io.File;
import java.io.IOException;
import java.io.InputStream;
import java.net.JarURLConnection;
import java.net.URL;
import java.net.URLConnection;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.nio.file.StandardCopyOption;
import java.nio.file.attribute.FileAttribute;
import java.nio.file.attribute.PosixFilePermission;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.Set;
import java.util.jar.JarEntry;
import java.util.zip.CRC32;

/**
 * The native library and the card helper in the jar, unpacked into a folder that only this user can
 * change. Both are in one folder, where the library finds the helper.
 */
final class Bundle {
    private static final String UNPACK_PROPERTY = "ticketapi.unpack";
    private static final String LIBRARY = "libticketapi.so";
    private static final String HELPER = "ticketapi-card";
    private static final FileAttribute<Set<PosixFilePermission>> OWN =
            PosixFilePermissions.asFileAttribute(PosixFilePermissions.fromString("rwx------"));

    private final URL library;
    private final URL helper;

    private Bundle(URL library, URL helper) {
        this.library = library;
        this.helper = helper;
    }

    /** Null where the jar has nothing for this platform. */
    static Bundle forThisPlatform() {
        String folder = "native/" + platform() + "/";
        URL library = Bundle.class.getResource(folder + LIBRARY);
        URL helper = Bundle.class.getResource(folder + HELPER);
        return library == null || helper == null ? null : new Bundle(library, helper);
    }

    /** As Maven names it, too. */
    static String platform() {
        return System.getProperty("os.name") + "-" + System.getProperty("os.arch");
    }

    /** Where this user's copies go. */
    static Path folder() {
        String named = System.getProperty(UNPACK_PROPERTY);
        if (named != null) {
            return Paths.get(named).toAbsolutePath();
        }
        String cache = System.getenv("XDG_CACHE_HOME");
        Path folder = cache != null && Paths.get(cache).isAbsolute()
                ? Paths.get(cache)
                : Paths.get(System.getProperty("user.home"), ".cache").toAbsolutePath();
        return folder.resolve("ticketapi");
    }

    /** {@link #folder()}, made where it is not there, and sure to be this user's alone. */
    static Path ownFolder() throws IOException {
        return own(folder());
    }

    /** Unpacks what is not there yet; returns the library's file. */
    Path unpack() throws IOException {
        Content content = Content.of(library);
        // Who updates the jar must not pull the helper away from programs that run with the old one.
        Path folder = own(ownFolder().resolve(Long.toHexString(content.crc)));
        unpack(helper, Content.of(helper), folder.resolve(HELPER));
        return unpack(library, content, folder.resolve(LIBRARY));
    }

    private static Path unpack(URL source, Content content, Path target) throws IOException {
        if (content.isIn(target)) {
            return target;
        }
        // Renamed when it is whole: another JVM may be doing the same.
        Path part = Files.createTempFile(target.getParent(), "part", null, OWN);
        try {
            try (InputStream input = open(source).getInputStream()) {
                Files.copy(input, part, StandardCopyOption.REPLACE_EXISTING);
            }
            Files.setPosixFilePermissions(part, OWN.value());
            Files.move(part, target, StandardCopyOption.ATOMIC_MOVE);
        } finally {
            Files.deleteIfExists(part);
        }
        return target;
    }

    /** The folder, made where it is not there; refused where anybody else could put a file into it. */
    private static Path own(Path folder) throws IOException {
        try {
            if (!Files.isDirectory(folder, LinkOption.NOFOLLOW_LINKS)) {
                if (folder.getParent() != null && !Files.isDirectory(folder.getParent())) {
                    Files.createDirectories(folder.getParent(), OWN);
                }
                Files.createDirectory(folder, OWN);
            }
        } catch (IOException e) {
            throw new IOException("cannot make the folder " + folder + " (" + e + "); set " + UNPACK_PROPERTY
                    + " to one that can be written", e);
        }
        int me = me();
        refuseUnless(user(folder) == me, folder, "belongs to another user");
        refuseUnless((mode(folder) & 0077) == 0, folder, "is open to other users");
        for (Path above = folder.toRealPath().getParent(); above != null; above = above.getParent()) {
            int owner = user(above);
            refuseUnless(owner == me || owner == 0, above, "belongs to another user");
            // In /tmp and the like others cannot touch what is not theirs.
            boolean sticky = (mode(above) & 01000) != 0;
            refuseUnless((mode(above) & 0002) == 0 || sticky, above, "can be written by every user");
        }
        return folder;
    }

    private static void refuseUnless(boolean good, Path folder, String fault) throws IOException {
        if (!good) {
            throw new IOException("the folder " + folder + " " + fault + ": nothing is loaded from it");
        }
    }

    /** The user that this JVM runs as. */
    private static int me() throws IOException {
        return (Integer) Files.getAttribute(Paths.get("/proc/self"), "unix:uid");
    }

    private static int user(Path path) throws IOException {
        return (Integer) Files.getAttribute(path, "unix:uid", LinkOption.NOFOLLOW_LINKS);
    }

    private static int mode(Path path) throws IOException {
        return (Integer) Files.getAttribute(path, "unix:mode", LinkOption.NOFOLLOW_LINKS);
    }

    private static URLConnection open(URL source) throws IOException {
        URLConnection connection = source.openConnection();
        // A cached jar stays open for the life of the JVM.
        connection.setUseCaches(false);
        return connection;
    }

    /** The mount point of the file system that {@code file} is on, where it does not let anything run. */
    static File mountedWithoutExecution(Path file) {
        try {
            Path real = file.toRealPath();
            Path found = null;
            boolean without = false;
            for (String line : Files.readAllLines(Paths.get("/proc/self/mounts"), StandardCharsets.ISO_8859_1)) {
                String[] fields = line.split(" ");
                Path mount = Paths.get(fields[1].replace("\\040", " "));
                // Of those with the same name the last one counts.
                if (real.startsWith(mount) && (found == null || mount.startsWith(found))) {
                    found = mount;
                    without = ("," + fields[3] + ",").contains(",noexec,");
                }
            }
            return without ? found.toFile() : null;
        } catch (IOException | RuntimeException e) {
            return null;
        }
    }

    /** What a file has to be. The folder is this user's own, so this guards against damage, not attack. */
    private static final class Content {
        private final long size;
        private final long crc;

        private Content(long size, long crc) {
            this.size = size;
            this.crc = crc;
        }

        static Content of(URL source) throws IOException {
            URLConnection connection = open(source);
            if (connection instanceof JarURLConnection) {
                JarEntry entry = ((JarURLConnection) connection).getJarEntry();
                if (entry != null && entry.getSize() >= 0 && entry.getCrc() >= 0) {
                    return new Content(entry.getSize(), entry.getCrc());
                }
            }
            try (InputStream input = connection.getInputStream()) {
                CRC32 crc = new CRC32();
                byte[] buffer = new byte[1 << 16];
                long size = 0;
                for (int count = input.read(buffer); count >= 0; count = input.read(buffer)) {
                    crc.update(buffer, 0, count);
                    size += count;
                }
                return new Content(size, crc.getValue());
            }
        }

        boolean isIn(Path file) throws IOException {
            if (!Files.isRegularFile(file, LinkOption.NOFOLLOW_LINKS) || Files.size(file) != size
                    || user(file) != me() || (mode(file) & 0777) != 0700) {
                return false;
            }
            try (FileChannel channel = FileChannel.open(file)) {
                CRC32 found = new CRC32();
                found.update(channel.map(FileChannel.MapMode.READ_ONLY, 0, size));
                return found.getValue() == crc;
            }
        }
    }
}
