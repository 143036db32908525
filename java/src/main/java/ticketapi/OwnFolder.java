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

/** The folder for unpacked files, which only this user can change. For Windows see {@link WindowsFolder}. */
final class OwnFolder {
    static final boolean WINDOWS = File.separatorChar == '\\';

    private static final String UNPACK_PROPERTY = "ticketapi.unpack";

    /** The kernel's number for users that a user namespace does not map. */
    private static final int NOBODY = 65534;

    private static Integer me;

    private OwnFolder() {
    }

    /**
     * The permissions of new files and folders, in a class of its own: a JVM that finds them need not load the JDK's
     * classes for it.
     */
    static final class Own {
        static final FileAttribute<Set<PosixFilePermission>> PERMISSIONS =
                PosixFilePermissions.asFileAttribute(PosixFilePermissions.fromString("rwx------"));

        private Own() {
        }
    }

    /** The path of this user's folder. */
    static Path path() throws IOException {
        String named = System.getProperty(UNPACK_PROPERTY);
        if (named != null) {
            return Paths.get(named).toAbsolutePath();
        }
        if (WINDOWS) {
            return WindowsFolder.path();
        }
        String cache = System.getenv("XDG_CACHE_HOME");
        Path folder = cache != null && Paths.get(cache).isAbsolute() ? Paths.get(cache) : home().resolve(".cache");
        return folder.resolve("ticketapi");
    }

    /** The user's home. It is "?" in a JVM that does not find the user in the system's list. */
    private static Path home() throws IOException {
        for (String home : new String[] {System.getProperty("user.home"), System.getenv("HOME")}) {
            if (home != null && Paths.get(home).isAbsolute()) {
                return Paths.get(home);
            }
        }
        throw new IOException("the user's home folder is not known; set " + UNPACK_PROPERTY + " to a folder");
    }

    /**
     * Returns {@link #path()}, resolved, and creates it if necessary. Refuses it if another user could put a file
     * into it.
     */
    static Path make() throws IOException {
        if (WINDOWS) {
            return WindowsFolder.make(path());
        }
        // Checked again under the name that is then used: links may change before they are resolved.
        Path folder = make(make(path()).toRealPath());
        for (Path above = folder.getParent(); above != null; above = above.getParent()) {
            Owned owned = new Owned(above);
            refuseUnless(owned.user == me() || owned.user == 0 || owned.user == NOBODY && rootIsNobody(), above,
                    "belongs to another user");
            // In sticky folders such as /tmp other users cannot change this user's files; the folders below were
            // checked.
            boolean sticky = (owned.mode & 01000) != 0;
            refuseUnless((owned.mode & 0002) == 0 || sticky, above, "can be written by every user");
            refuseUnless((owned.mode & 0020) == 0 || sticky || owned.isOfPrivateGroup(), above, "can be written by its group");
        }
        return folder;
    }

    /**
     * Returns true if root is not mapped in this user namespace, so that its files belong to nobody
     * (user_namespaces(7)).
     */
    private static boolean rootIsNobody() throws IOException {
        for (String line : Files.readAllLines(Paths.get("/proc/self/uid_map"), StandardCharsets.US_ASCII)) {
            if (line.trim().split(" +")[1].equals("0")) {
                return false;
            }
        }
        return true;
    }

    /**
     * Creates a folder in {@link #make()}'s, or that one itself, if necessary. Refuses it unless only this user can
     * access it.
     */
    static Path make(Path folder) throws IOException {
        if (WINDOWS) {
            return WindowsFolder.make(folder);
        }
        try {
            if (!Files.isDirectory(folder, LinkOption.NOFOLLOW_LINKS)) {
                if (folder.getParent() != null && !Files.isDirectory(folder.getParent())) {
                    Files.createDirectories(folder.getParent(), Own.PERMISSIONS);
                }
                Files.createDirectory(folder, Own.PERMISSIONS);
            }
        } catch (IOException e) {
            if (e instanceof FileAlreadyExistsException && Files.isDirectory(folder, LinkOption.NOFOLLOW_LINKS)) {
                // Another JVM has created it meanwhile.
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

    /** The user that runs this JVM. */
    private static int me() throws IOException {
        if (me == null) {
            me = (Integer) Files.getAttribute(Paths.get("/proc/self"), "unix:uid");
        }
        return me;
    }

    /** The attributes of a file or folder, read at once: each read costs a new JVM some of its first milliseconds. */
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

        /**
         * Returns true if the group is root's or contains only this user: by convention the group with the user's
         * number.
         */
        boolean isOfPrivateGroup() throws IOException {
            return group == 0
                    || group == me() && group == (Integer) Files.getAttribute(Paths.get("/proc/self"), "unix:gid");
        }

        /** Returns true if this is a file of this size that only this user could have created and can change. */
        boolean isOwnFile(long length) throws IOException {
            return mode == OWN_FILE && user == me() && size == length;
        }

        /** Returns true if it was neither written to nor replaced since {@code other}. */
        boolean isUnchangedSince(Owned other) {
            return changed.compareTo(other.changed) <= 0;
        }
    }

    /** Returns the mount point of the file system of {@code file}, if it does not allow execution. */
    static File mountedWithoutExecution(Path file) {
        try {
            Path real = file.toRealPath();
            Path found = null;
            boolean without = false;
            for (String line : Files.readAllLines(Paths.get("/proc/self/mounts"), StandardCharsets.ISO_8859_1)) {
                String[] fields = line.split(" ");
                Path mount = Paths.get(fields[1].replace("\\040", " "));
                // Of entries with the same mount point the last one counts.
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
