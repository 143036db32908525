package ticketapi;

import java.io.File;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.nio.file.attribute.FileAttribute;
import java.nio.file.attribute.FileTime;
import java.nio.file.attribute.PosixFilePermission;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.Map;
import java.util.Set;

/** The folder for unpacked files, which only this user can change. */
final class OwnFolder {
    private static final String UNPACK_PROPERTY = "ticketapi.unpack";

    private static Integer me;

    private OwnFolder() {
    }

    /** How files and folders in it are made; apart, as a JVM that finds them there does not need the JDK's classes for it. */
    static final class Own {
        static final FileAttribute<Set<PosixFilePermission>> PERMISSIONS =
                PosixFilePermissions.asFileAttribute(PosixFilePermissions.fromString("rwx------"));

        private Own() {
        }
    }

    /** Where this user's copies go. */
    static Path path() {
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

    /** {@link #path()}, made where it is not there; refused where anybody else could put a file into it. */
    static Path make() throws IOException {
        Path folder = make(path());
        int me = me();
        for (Path above = folder.toRealPath().getParent(); above != null; above = above.getParent()) {
            Owned owned = new Owned(above);
            refuseUnless(owned.user == me || owned.user == 0, above, "belongs to another user");
            // In /tmp and the like others cannot touch what is not theirs.
            boolean sticky = (owned.mode & 01000) != 0;
            refuseUnless((owned.mode & 0002) == 0 || sticky, above, "can be written by every user");
        }
        return folder;
    }

    /** A folder in {@link #make()}'s, or that one itself, made where it is not there; refused where it is not this user's alone. */
    static Path make(Path folder) throws IOException {
        try {
            if (!Files.isDirectory(folder, LinkOption.NOFOLLOW_LINKS)) {
                if (folder.getParent() != null && !Files.isDirectory(folder.getParent())) {
                    Files.createDirectories(folder.getParent(), Own.PERMISSIONS);
                }
                Files.createDirectory(folder, Own.PERMISSIONS);
            }
        } catch (IOException e) {
            if (e instanceof FileAlreadyExistsException && Files.isDirectory(folder, LinkOption.NOFOLLOW_LINKS)) {
                // Another JVM was faster.
                return make(folder);
            }
            throw new IOException("cannot make the folder " + folder + " (" + e + "); set " + UNPACK_PROPERTY
                    + " to one that can be written", e);
        }
        Owned owned = new Owned(folder);
        refuseUnless(owned.user == me(), folder, "belongs to another user");
        refuseUnless((owned.mode & 0077) == 0, folder, "is open to other users");
        return folder;
    }

    private static void refuseUnless(boolean good, Path folder, String fault) throws IOException {
        if (!good) {
            throw new IOException("the folder " + folder + " " + fault + ": nothing is loaded from it");
        }
    }

    /** The user that this JVM runs as. */
    private static int me() throws IOException {
        if (me == null) {
            me = (Integer) Files.getAttribute(Paths.get("/proc/self"), "unix:uid");
        }
        return me;
    }

    /** What a file or folder is, read at once: each question costs a new JVM some of its first milliseconds. */
    static final class Owned {
        private static final int OWN_FILE = 0100700;

        private final int user;
        private final int mode;
        private final long size;
        private final FileTime changed;

        Owned(Path path) throws IOException {
            Map<String, Object> attributes =
                    Files.readAttributes(path, "unix:uid,mode,size,ctime", LinkOption.NOFOLLOW_LINKS);
            user = (Integer) attributes.get("uid");
            mode = (Integer) attributes.get("mode");
            size = (Long) attributes.get("size");
            changed = (FileTime) attributes.get("ctime");
        }

        /** Whether it is a file of this size that only this user could have made and can change. */
        boolean isOwnFile(long length) throws IOException {
            return mode == OWN_FILE && user == me() && size == length;
        }

        /** Whether nothing was written into it, nor anything else put in its place, since {@code other} was. */
        boolean isUnchangedSince(Owned other) {
            return changed.compareTo(other.changed) <= 0;
        }
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
}
