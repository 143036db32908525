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

    /** What the kernel shows for users that a user namespace does not know. */
    private static final int NOBODY = 65534;

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
    static Path path() throws IOException {
        String named = System.getProperty(UNPACK_PROPERTY);
        if (named != null) {
            return Paths.get(named).toAbsolutePath();
        }
        String cache = System.getenv("XDG_CACHE_HOME");
        Path folder = cache != null && Paths.get(cache).isAbsolute() ? Paths.get(cache) : home().resolve(".cache");
        return folder.resolve("ticketapi");
    }

    /** The user's home. A JVM that does not find the user in the system's list has "?" for it. */
    private static Path home() throws IOException {
        for (String home : new String[] {System.getProperty("user.home"), System.getenv("HOME")}) {
            if (home != null && Paths.get(home).isAbsolute()) {
                return Paths.get(home);
            }
        }
        throw new IOException("the user's home folder is not known; set " + UNPACK_PROPERTY + " to a folder");
    }

    /** {@link #path()}, resolved, and made where it does not exist; refused where another user could put a file into it. */
    static Path make() throws IOException {
        // Checked again by the name that is then used: links may change before they are resolved.
        Path folder = make(make(path()).toRealPath());
        for (Path above = folder.getParent(); above != null; above = above.getParent()) {
            Owned owned = new Owned(above);
            refuseUnless(owned.user == me() || owned.user == 0 || owned.user == NOBODY && rootIsNobody(), above,
                    "belongs to another user");
            // In /tmp and the like others cannot touch what is not theirs, and what is below was checked.
            boolean sticky = (owned.mode & 01000) != 0;
            refuseUnless((owned.mode & 0002) == 0 || sticky, above, "can be written by every user");
            refuseUnless((owned.mode & 0020) == 0 || sticky || owned.isOfPrivateGroup(), above, "can be written by its group");
        }
        return folder;
    }

    /** Whether root has no number in this user namespace, so that its files show as nobody's (user_namespaces(7)). */
    private static boolean rootIsNobody() throws IOException {
        for (String line : Files.readAllLines(Paths.get("/proc/self/uid_map"), StandardCharsets.US_ASCII)) {
            if (line.trim().split(" +")[1].equals("0")) {
                return false;
            }
        }
        return true;
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
            throw new IOException("the folder " + folder + " " + fault + ": nothing is loaded from it; set " + UNPACK_PROPERTY
                    + " to a folder that only you and root can write to");
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
        private final int group;
        private final int mode;
        private final long size;
        private final FileTime changed;

        Owned(Path path) throws IOException {
            Map<String, Object> attributes =
                    Files.readAttributes(path, "unix:uid,gid,mode,size,ctime", LinkOption.NOFOLLOW_LINKS);
            user = (Integer) attributes.get("uid");
            group = (Integer) attributes.get("gid");
            mode = (Integer) attributes.get("mode");
            size = (Long) attributes.get("size");
            changed = (FileTime) attributes.get("ctime");
        }

        /** Whether its group is root's, or has this user alone: by convention one with the user's number. */
        boolean isOfPrivateGroup() throws IOException {
            return group == 0
                    || group == me() && group == (Integer) Files.getAttribute(Paths.get("/proc/self"), "unix:gid");
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
