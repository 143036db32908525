package ticketapi.tests;

import java.io.BufferedReader;
import java.io.File;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

/** Programs in three languages that share the login of an agent, with a card in a virtual reader. */
class AgentTest {
    /** The time from PC/SC's event until no program gets the ticket. */
    private static final long UNTIL_GONE = TimeUnit.MILLISECONDS.toNanos(250);

    private final List<Talking> running = new ArrayList<>();
    private Desk desk;
    private Talking card;
    private Talking events;

    /** A program whose output is read line by line. */
    private static final class Talking {
        final Process process;
        private final BufferedReader lines;

        Talking(ProcessBuilder builder) throws IOException {
            process = builder.redirectError(ProcessBuilder.Redirect.INHERIT).start();
            lines = new BufferedReader(new InputStreamReader(process.getInputStream(), StandardCharsets.UTF_8));
        }

        /** Returns the rest of the next line, which must begin with this. */
        String says(String beginning) throws IOException {
            String line = lines.readLine();
            assertTrue(line != null && line.startsWith(beginning), () -> beginning + " expected: " + line);
            return line.substring(beginning.length());
        }

        void hears(String line) throws IOException {
            OutputStream input = process.getOutputStream();
            input.write((line + "\n").getBytes(StandardCharsets.UTF_8));
            input.flush();
        }
    }

    private Talking start(String... command) throws IOException {
        Talking started = new Talking(desk.program(command));
        running.add(started);
        return started;
    }

    private int ticketapi(String... arguments) throws Exception {
        List<String> command = new ArrayList<>(Arrays.asList(Desk.needed("TEST_COMMAND")));
        command.addAll(Arrays.asList(arguments));
        return desk.program(command.toArray(new String[0])).redirectOutput(new File("/dev/null"))
                .redirectError(new File("/dev/null")).start().waitFor();
    }

    @BeforeEach
    void open() throws Exception {
        desk = new Desk();
        desk.with("good.p12", "--roles", "1");
        card = start(Desk.needed("VIRTUAL_CARD"), "--state-dir", Desk.needed("TEST_STATE"), "--helper",
                Desk.needed("CARD_HELPER"));
        String helper = card.says("helper=");
        card.says("service=");
        desk.unset("TICKETAPI_SOFTWARE_CARD").set("TICKETAPI_HELPER", helper).pin(card.says("pin="));
        card.hears("insert");
        card.says("insert");
        events = start(Desk.needed("CARD_EVENTS"), helper);
        events.says("1 ");
        Path socket = desk.folder.resolve("agent.sock");
        desk.set("TICKETAPI_AGENT_SOCKET", socket.toString()).set("TICKETAPI_AGENT", "require");
        Talking agent = start(Desk.needed("TEST_COMMAND"), "agent");
        while (!Files.exists(socket)) {
            assertTrue(agent.process.isAlive(), "the agent has ended");
            Thread.sleep(2);
        }
    }

    @AfterEach
    void close() throws Exception {
        for (Talking program : running) {
            program.process.destroy();
        }
        for (Talking program : running) {
            program.process.waitFor();
        }
        desk.close();
    }

    @Test
    void removingTheCardEndsTheSessionForAllPrograms() throws Exception {
        assertEquals(0, ticketapi("login"));

        Path inC = desk.folder.resolve("follower");
        Process compiler = new ProcessBuilder("cc", "-I../include", "src/test/programs/follower.c", "-o", inC.toString(),
                Desk.needed("TEST_LIBRARIES") + "/libticketapi.so", "-Wl,-rpath," + Desk.needed("TEST_LIBRARIES")).start();
        assertEquals(0, compiler.waitFor());
        Talking c = start(inC.toString());
        c.says("ticket");
        String classes = Desk.jar() + File.pathSeparator + Desk.classesOf(Follower.class);
        Talking java = start(System.getProperty("java.home") + "/bin/java", "-Xcheck:jni", "-Duser.home=" + desk.folder, "-cp",
                classes, Follower.class.getName());
        java.says("ticket");
        assertEquals(0, ticketapi("ticket", "--no-auth"));
        assertEquals(1, desk.pins());

        card.hears("remove");
        long out = Long.parseLong(events.says("0 "));
        for (Talking program : Arrays.asList(c, java)) {
            long gone = Long.parseLong(program.says("gone="));
            assertTrue(gone - out <= UNTIL_GONE, () -> "gone after " + (gone - out) + " ns");
        }
        assertTrue(ticketapi("ticket", "--no-auth") != 0);
    }
}
