package ticketapi.tests;

import java.io.File;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.util.Arrays;
import org.junit.jupiter.api.Test;

import static org.junit.jupiter.api.Assertions.assertEquals;

/** Threads of C programs that use the library in their own JVM. */
class EmbeddedTest {
    @Test
    void referencesOfALongRunningThreadAreFreed() throws Exception {
        try (Desk desk = new Desk()) {
            desk.with("good.p12", "--roles", "40");
            String home = System.getProperty("java.home");
            String library = Desk.needed("TEST_LIBRARIES") + "/libticketapi.so";
            Path program = desk.folder.resolve("embedded");
            Process cc = new ProcessBuilder("cc", "-Wall", "-Wextra", "-Werror", "-pthread", "-I" + home + "/include",
                    "-I" + home + "/include/linux", "-I../include", "src/test/programs/embedded/embedded.c", library,
                    "-L" + home + "/lib/server", "-ljvm", "-Wl,-rpath," + home + "/lib/server", "-o", program.toString())
                    .inheritIO().start();
            assertEquals(0, cc.waitFor());
            Files.createSymbolicLink(desk.folder.resolve("libticketapi.so.1"), Paths.get(library));
            desk.set("LD_LIBRARY_PATH", desk.folder.toString());
            String classes = Paths.get(Embedded.class.getProtectionDomain().getCodeSource().getLocation().toURI()).toString();
            desk.start(Arrays.asList(program.toString(), "-Djava.class.path=" + Desk.jar() + File.pathSeparator + classes,
                    "-Dticketapi.library=" + library)).done();
        }
    }
}
