package ticketapi;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.nio.file.attribute.AclEntry;
import java.nio.file.attribute.AclEntryFlag;
import java.nio.file.attribute.AclEntryPermission;
import java.nio.file.attribute.AclEntryType;
import java.nio.file.attribute.AclFileAttributeView;
import java.nio.file.attribute.UserPrincipal;
import java.nio.file.attribute.UserPrincipalNotFoundException;
import java.util.Collections;
import java.util.EnumSet;
import java.util.HashSet;
import java.util.Set;

/** Does on Windows what {@link OwnFolder} does elsewhere: owners and access lists instead of modes. */
final class WindowsFolder {
    /** Who has one of these can put something else in the place of what is in a folder, or of the folder. */
    private static final Set<AclEntryPermission> REPLACE = EnumSet.of(AclEntryPermission.DELETE_CHILD,
            AclEntryPermission.DELETE, AclEntryPermission.WRITE_ACL, AclEntryPermission.WRITE_OWNER);
    /** Who has one of these can also add files. */
    private static final Set<AclEntryPermission> CHANGE = EnumSet.copyOf(REPLACE);

    static {
        CHANGE.add(AclEntryPermission.WRITE_DATA);
    }

    private WindowsFolder() {
    }

    /** The path of this user's folder, where {@code ticketapi.unpack} names none. */
    static Path path() throws IOException {
        String data = System.getenv("LOCALAPPDATA");
        if (data == null || !Paths.get(data).isAbsolute()) {
            throw new IOException("LOCALAPPDATA names no folder; set ticketapi.unpack to a folder");
        }
        return Paths.get(data, "ticketapi", "java");
    }

    /** Creates a folder if necessary. Refuses it if others could put something into it, or in its place. */
    static Path make(Path wanted) throws IOException {
        try {
            Files.createDirectories(wanted);
        } catch (IOException e) {
            throw new IOException("cannot make the folder " + wanted + " (" + e + "); set ticketapi.unpack to one that can be"
                    + " written", e);
        }
        Path folder = wanted.toRealPath();
        Set<UserPrincipal> trusted = trusted();
        refuseIfOthersMay(CHANGE, folder, trusted);
        for (Path above = folder.getParent(); above != null; above = above.getParent()) {
            refuseIfOthersMay(REPLACE, above, trusted);
        }
        return folder;
    }

    /**
     * This user, and all who can change Windows itself: Administrators, SYSTEM and TrustedInstaller, whose names are
     * others in each language.
     */
    private static Set<UserPrincipal> trusted() throws IOException {
        Path system = Paths.get(String.valueOf(System.getenv("SystemRoot")), "System32");
        Set<UserPrincipal> trusted = new HashSet<>();
        trusted.add(Files.getOwner(system));
        for (AclEntry entry : view(system).getAcl()) {
            if (allows(entry, CHANGE)) {
                trusted.add(entry.principal());
            }
        }
        trusted.add(me(system));
        return trusted;
    }

    private static UserPrincipal me(Path any) throws IOException {
        String name = System.getProperty("user.name");
        String domain = System.getenv("USERDOMAIN");
        try {
            return any.getFileSystem().getUserPrincipalLookupService()
                    .lookupPrincipalByName(domain == null ? name : domain + "\\" + name);
        } catch (UserPrincipalNotFoundException e) {
            return any.getFileSystem().getUserPrincipalLookupService().lookupPrincipalByName(name);
        }
    }

    private static AclFileAttributeView view(Path path) throws IOException {
        AclFileAttributeView view =
                Files.getFileAttributeView(path, AclFileAttributeView.class, LinkOption.NOFOLLOW_LINKS);
        if (view == null) {
            throw new IOException("the file system of " + path + " has no access lists; set ticketapi.unpack to a folder"
                    + " on another one");
        }
        return view;
    }

    private static boolean allows(AclEntry entry, Set<AclEntryPermission> permissions) {
        return entry.type() == AclEntryType.ALLOW && !entry.flags().contains(AclEntryFlag.INHERIT_ONLY)
                && !Collections.disjoint(entry.permissions(), permissions);
    }

    private static void refuseIfOthersMay(Set<AclEntryPermission> permissions, Path folder, Set<UserPrincipal> trusted)
            throws IOException {
        AclFileAttributeView view = view(folder);
        UserPrincipal owner = view.getOwner();
        String fault = trusted.contains(owner) ? null : "belongs to " + owner.getName();
        for (AclEntry entry : view.getAcl()) {
            if (allows(entry, permissions) && !trusted.contains(entry.principal())) {
                fault = "can be changed by " + entry.principal().getName();
            }
        }
        if (fault != null) {
            throw new IOException("the folder " + folder + " " + fault + ": nothing is loaded from it; set ticketapi.unpack"
                    + " to a folder that only you and Administrators can change");
        }
    }
}
