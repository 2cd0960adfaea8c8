import com.pixelmed.validate.DicomSRValidator;

/** PixelMed's verdict on each file named as argument: compiling its rules takes 15 s, so they are compiled once. */
class SrValidation {
    public static void main(String[] paths) throws Exception {
        DicomSRValidator validator = new DicomSRValidator();
        for (String path : paths) {
            System.out.println("FILE " + path);
            System.out.println(validator.validate(path));
        }
    }
}
