// Logs in from .NET by P/Invoke, as old .NET clients declare the functions, with a prompter for the PIN in TEST_PIN.
using System;
using System.Runtime.InteropServices;
using System.Text;

static class Login
{
    const string Dll = "TicketApiDll.dll";

    [UnmanagedFunctionPointer(CallingConvention.Cdecl)]
    delegate int AskPin(IntPtr data, IntPtr request, IntPtr to, uint size);

    [UnmanagedFunctionPointer(CallingConvention.Cdecl)]
    delegate int AskLastTry(IntPtr data, IntPtr request);

    [UnmanagedFunctionPointer(CallingConvention.Cdecl)]
    delegate int AskRole(IntPtr data, IntPtr roles, uint count, out uint chosen);

    [StructLayout(LayoutKind.Sequential)]
    struct Prompter
    {
        public AskPin Pin;
        public AskLastTry LastTry;
        public AskRole Role;
        public IntPtr Message;
    }

    [DllImport(Dll, CallingConvention = CallingConvention.Cdecl)]
    static extern int TcktApi_Initialize();

    [DllImport(Dll, CallingConvention = CallingConvention.Cdecl)]
    static extern void TcktApi_Finalize(int instance);

    [DllImport(Dll, CallingConvention = CallingConvention.Cdecl)]
    static extern int TcktApi_getTicket(int instance, byte[] ticket, uint size, out uint length);

    [DllImport(Dll, CallingConvention = CallingConvention.Cdecl)]
    static extern int TcktApi_getTicketNoAuth(int instance, byte[] ticket, uint size, out uint length);

    [DllImport(Dll, CallingConvention = CallingConvention.Cdecl)]
    static extern int TcktApi_destroyTicket(int instance);

    [DllImport(Dll, CallingConvention = CallingConvention.Cdecl)]
    static extern uint TcktApi_getLastError(int instance);

    [DllImport(Dll, CallingConvention = CallingConvention.Cdecl)]
    static extern int TcktApi_getErrorDescription(int instance, uint code, byte[] text, uint size, out uint length);

    [DllImport(Dll, CallingConvention = CallingConvention.Cdecl)]
    static extern int ticketapi_set_prompter(ref Prompter prompter, IntPtr data);

    static int EnterPin(IntPtr data, IntPtr request, IntPtr to, uint size)
    {
        byte[] pin = Encoding.ASCII.GetBytes(Environment.GetEnvironmentVariable("TEST_PIN") + "\0");
        Marshal.Copy(pin, 0, to, pin.Length);
        return 0;
    }

    static int Refuse(IntPtr data, IntPtr request)
    {
        return 1;
    }

    static int FirstRole(IntPtr data, IntPtr roles, uint count, out uint chosen)
    {
        chosen = 0;
        return 0;
    }

    static int Main()
    {
        Prompter prompter = new Prompter { Pin = EnterPin, LastTry = Refuse, Role = FirstRole };
        ticketapi_set_prompter(ref prompter, IntPtr.Zero);
        int instance = TcktApi_Initialize();
        byte[] ticket = new byte[1024], again = new byte[1024];
        uint length, size;
        if (TcktApi_getTicket(instance, ticket, 1024, out length) != 0)
        {
            uint code = TcktApi_getLastError(instance);
            byte[] text = new byte[4096];
            TcktApi_getErrorDescription(instance, code, text, 4096, out size);
            Console.WriteLine("failed: 0x{0:x8}: {1}", code, Encoding.UTF8.GetString(text).TrimEnd('\0'));
            return 1;
        }
        bool same = TcktApi_getTicketNoAuth(instance, again, 1024, out size) == 0 && size == length
            && Encoding.ASCII.GetString(ticket, 0, (int)length) == Encoding.ASCII.GetString(again, 0, (int)size);
        int destroyed = TcktApi_destroyTicket(instance);
        TcktApi_Finalize(instance);
        GC.KeepAlive(prompter);
        if (!same || destroyed != 0)
        {
            Console.WriteLine("failed: another ticket, or it was not destroyed");
            return 1;
        }
        Console.WriteLine("logged in from .NET, {0} bits", 8 * IntPtr.Size);
        return 0;
    }
}
