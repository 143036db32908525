package ticketapi.tests;

import java.io.BufferedReader;
import java.io.File;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import javax.tools.ToolProvider;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

/** A broker, a card, a user, and programs that log in; scripts/check-java sets their paths. */
final class Desk implements AutoCloseable {
    private static final Path PROGRAMS = Paths.get("src/test/programs");
    private static final long PATIENCE = 120;

    final Path folder;
    private final Map<String, String> environment = new LinkedHashMap<>();
    private final List<String> options = new ArrayList<>(Arrays.asList("-Xcheck:jni"));
    private Path input = Paths.get("/dev/null");
    private Process spine;

    Desk() throws IOException {
        folder = Files.createTempDirectory("ticketapi-java-");
        environment.put("HOME", folder.toString());
        option("-Duser.home=" + folder);
        option("-Djava.library.path=" + folder.resolve("no-libraries"));
    }

    /** Starts a simulator, for a user with the PIN 1234. */
    Desk with(String card, String... arguments) throws IOException {
        List<String> command = new ArrayList<>(Arrays.asList(needed("SPINE_SIMULATOR"), "--strict", "--state-dir", needed("TEST_STATE")));
        command.addAll(Arrays.asList(arguments));
        for (String line : greetingOf(command)) {
            if (line.startsWith("url=")) {
                set("TICKETAPI_BASE_URL", line.substring(4));
                set("TICKETAPI_AGENT", "never");
            } else if (line.startsWith("ca_file=")) {
                set("TICKETAPI_CA_FILE", line.substring(8));
            }
        }
        if (card.endsWith(".p12")) {
            set("TICKETAPI_SOFTWARE_CARD", needed("TEST_CARDS") + "/" + card);
        } else {
            set("TICKETAPI_CONFIG", needed("TEST_CARDS") + "/" + card + ".toml");
        }
        return pin("1234");
    }

    /** Starts the simulator of an OpenID provider, with a browser in which the user is logged in at once. */
    Desk atProvider(String... arguments) throws IOException {
        String simulator = needed("OIDC_SIMULATOR");
        List<String> command = new ArrayList<>(Arrays.asList(simulator, "--auto", "--state-dir", needed("TEST_STATE")));
        command.addAll(Arrays.asList(arguments));
        takeSettings(command);
        return browser("exec '" + simulator + "' --browse \"$1\" --ca-file \"$TICKETAPI_CA_FILE\" >/dev/null 2>&1\n");
    }

    /** Starts the simulator of a Nuts node; in a real browser, the user presses "accept" or "reject" on its page. */
    Desk atNode(String decision) throws IOException {
        String simulator = needed("NUTS_SIMULATOR");
        takeSettings(Arrays.asList(simulator));
        return browser("exec '" + simulator + "' --press " + decision + " \"$1\" >/dev/null 2>&1\n");
    }

    /** Sets the browser, a shell script that gets the address. */
    private Desk browser(String script) throws IOException {
        Path browser = folder.resolve("browser");
        Files.write(browser, ("#!/bin/sh\n" + script).getBytes(StandardCharsets.UTF_8));
        assertTrue(browser.toFile().setExecutable(true));
        return set("TICKETAPI_BROWSER", browser.toString()).set("TICKETAPI_BIND_CARD", "false").set("TICKETAPI_AGENT", "never");
    }

    /** Starts a simulator that prints settings, and uses them. */
    private void takeSettings(List<String> command) throws IOException {
        for (String line : greetingOf(command)) {
            if (line.startsWith("export ")) {
                int equals = line.indexOf('=');
                set(line.substring("export ".length(), equals), line.substring(equals + 2, line.length() - 1));
            }
        }
    }

    /** Starts a simulator, and returns what it says before it serves. */
    private List<String> greetingOf(List<String> command) throws IOException {
        spine = new ProcessBuilder(command).redirectErrorStream(true).start();
        BufferedReader output = new BufferedReader(new InputStreamReader(spine.getInputStream(), StandardCharsets.UTF_8));
        List<String> greeting = new ArrayList<>();
        for (String line = output.readLine(); !line.startsWith("# Requests"); line = output.readLine()) {
            greeting.add(line);
        }
        Thread reader = new Thread(() -> {
            try {
                while (output.readLine() != null) {
                    // Keeps its pipe from filling up.
                }
            } catch (IOException e) {
                // The program has ended.
            }
        });
        reader.setDaemon(true);
        reader.start();
        return greeting;
    }

    /** Sets the PIN that the user knows. */
    Desk pin(String pin) throws IOException {
        Path pinentry = folder.resolve("pinentry");
        Files.write(pinentry, ("#!/bin/sh\necho OK\nwhile read -r line; do case $line in GETPIN) echo >>'" + folder
                + "/asked'; echo 'D " + pin + "' ;; esac; echo OK; done\n").getBytes(StandardCharsets.UTF_8));
        assertTrue(pinentry.toFile().setExecutable(true));
        return set("TICKETAPI_PINENTRY", pinentry.toString());
    }

    Desk set(String variable, String value) {
        environment.put(variable, value);
        return this;
    }

    /** The value of a variable that is set. */
    String variable(String name) {
        return environment.get(name);
    }

    Desk unset(String variable) {
        environment.remove(variable);
        return this;
    }

    /** Sets what the user types on the terminal. */
    Desk types(String lines) throws IOException {
        input = Files.write(folder.resolve("typed"), lines.getBytes(StandardCharsets.UTF_8));
        return this;
    }

    Desk option(String option) {
        options.add(option);
        return this;
    }

    /** Counts pinentry's PIN prompts. */
    long pins() throws IOException {
        Path asked = folder.resolve("asked");
        return Files.exists(asked) ? Files.readAllLines(asked).size() : 0;
    }

    /** Runs a class of these tests with the jar. */
    Result run(Class<?> program, String... arguments) throws Exception {
        return java(jar() + File.pathSeparator + classesOf(program), program.getName(), arguments);
    }

    static String classesOf(Class<?> program) throws Exception {
        return Paths.get(program.getProtectionDomain().getCodeSource().getLocation().toURI()).toString();
    }

    /** Compiles a client against other classes than those that it runs with. */
    Path compile(String program, String against) throws IOException {
        Path signatures = compileAll(PROGRAMS.resolve(against), folder.resolve(against), null);
        return compileAll(PROGRAMS.resolve(program), folder.resolve(program), signatures);
    }

    private static Path compileAll(Path sources, Path target, Path against) throws IOException {
        Files.createDirectories(target);
        List<String> arguments = new ArrayList<>(Arrays.asList("--release", "8", "-Xlint:-options", "-d", target.toString()));
        if (against != null) {
            arguments.addAll(Arrays.asList("-cp", against.toString()));
        }
        try (Stream<Path> files = Files.walk(sources)) {
            files.filter(file -> file.toString().endsWith(".java")).forEach(file -> arguments.add(file.toString()));
        }
        assertEquals(0, ToolProvider.getSystemJavaCompiler().run(null, null, null, arguments.toArray(new String[0])));
        return target;
    }

    Result java(String classPath, String program, String... arguments) throws Exception {
        return java(Arrays.asList(), classPath, program, arguments);
    }

    /** {@code before} is a command that runs the JVM, which are its last arguments. */
    Result java(List<String> before, String classPath, String program, String... arguments) throws Exception {
        List<String> command = new ArrayList<>(before);
        command.add(System.getProperty("java.home") + "/bin/java");
        command.addAll(options);
        command.addAll(Arrays.asList("-cp", classPath, program));
        command.addAll(Arrays.asList(arguments));
        return start(command);
    }

    /** A program with this desk's settings. */
    ProcessBuilder program(String... command) {
        ProcessBuilder builder = new ProcessBuilder(command);
        builder.environment().keySet().removeIf(name -> name.startsWith("TICKETAPI_") || name.startsWith("XDG_"));
        builder.environment().put("LC_ALL", "C.UTF-8");
        builder.environment().putAll(environment);
        return builder;
    }

    Result start(List<String> command) throws Exception {
        Path output = Files.createTempFile(folder, "output", null);
        Path errors = Files.createTempFile(folder, "errors", null);
        Process process = program(command.toArray(new String[0])).redirectInput(input.toFile())
                .redirectOutput(output.toFile()).redirectError(errors.toFile()).start();
        boolean ended = process.waitFor(PATIENCE, TimeUnit.SECONDS);
        process.destroyForcibly();
        Result result = new Result(ended ? process.waitFor() : -1, read(output), read(errors));
        assertTrue(ended, () -> "not over after " + PATIENCE + " s: " + result);
        assertFalse(result.output.contains("WARNING") || result.errors.contains("WARNING"), result::toString);
        assertFalse(result.output.contains("FATAL ERROR"), result::toString);
        return result;
    }

    static String jar() {
        return System.getProperty("jar");
    }

    static String needed(String variable) {
        String value = System.getenv(variable);
        assertTrue(value != null, () -> variable + " is not set: run scripts/check-java");
        return value;
    }

    private static String read(Path file) throws IOException {
        return new String(Files.readAllBytes(file), StandardCharsets.UTF_8);
    }

    @Override
    public void close() throws Exception {
        if (spine != null) {
            spine.destroy();
            spine.waitFor();
        }
        try (Stream<Path> files = Files.walk(folder)) {
            files.sorted(Comparator.reverseOrder()).forEach(file -> file.toFile().delete());
        }
    }

    /** How a program ended. */
    static final class Result {
        final int status;
        final String output;
        final String errors;

        Result(int status, String output, String errors) {
            this.status = status;
            this.output = output;
            this.errors = errors;
        }

        /** Asserts that the program reached its end. */
        Result done() {
            assertTrue(status == 0 && output.endsWith("done\n"), this::toString);
            return this;
        }

        Result says(String text) {
            assertTrue(output.contains(text), () -> "no \"" + text + "\" in: " + this);
            return this;
        }

        @Override
        public String toString() {
            return "status " + status + "\n" + output + errors;
        }
    }
}
